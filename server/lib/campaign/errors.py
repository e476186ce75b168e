"""What a campaign refuses. Comes in: nothing. Goes out: errors of one line, each with the HTTP status it stands for."""

from __future__ import annotations

from llnm.errors import InputError


class CampaignError(InputError):
    """A request that cannot be fulfilled as it is (400)."""

    status_code = 400


class UnknownError(CampaignError):
    """An image, a lease or a strategy that does not exist (404)."""

    status_code = 404


class LeaseLostError(CampaignError):
    """The image has passed to somebody else, or has all the labels it needs (409)."""

    status_code = 409


class NotAllowedError(CampaignError):
    """Somebody asks for what only a reviewer, or only another annotator, may do (403)."""

    status_code = 403


class TooLargeError(CampaignError):
    """An upload over the limit (413)."""

    status_code = 413
