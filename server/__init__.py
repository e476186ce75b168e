"""The annotation server of LLNM (research use only; not a medical device): `python -m server`."""
