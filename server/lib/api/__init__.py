"""MONAILabel's REST interface, as its clients (3D Slicer's plugin first) speak it.

Comes in: HTTP requests. Goes out: the answers of `LLNMApp`. The routes are our own: MONAILabel's run inference inside
the event loop (nobody else is served meanwhile), take file paths and task options from the client, accept uploaded
pickles as weights, and answer bad requests with 500. Not offered: the DICOM proxy, OHIF, slides, uploading weights.
"""

from lib.api.application import create_application

__all__ = ["create_application"]
