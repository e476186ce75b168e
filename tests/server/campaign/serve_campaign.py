"""A real server process with nothing but campaigns on it: `python serve_campaign.py STUDY FOLDER PORT`.

`STUDY/images/*.png` are the pool, the patient before the dash; `X-Annotator` names the sender, and who is called
`reviewer...` may review. `/campaign` is there from the start; POST `/begin/NAME` adds another one at `/NAME`, so that
one process serves many tests.
"""

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "server"))

from lib.campaign import Campaign, PoolImage
from lib.campaign.api import Person, campaign_router


def person(request: Request) -> Person:
    name = request.headers.get("X-Annotator", "reviewer")
    return Person(name, reviewer=name.startswith("reviewer"))


def main() -> None:
    study, folder, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    app = FastAPI()

    @app.post("/begin/{name}")
    def begin(name: str) -> None:
        campaign = Campaign(folder / name)
        images = sorted((study / "images").glob("*.png"))
        campaign.add_images(PoolImage(path.stem, path, path.stem.split("-")[0]) for path in images)
        app.include_router(campaign_router(campaign, person=person, prefix=f"/{name}", largest_label_bytes=1 << 20))

    begin("campaign")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
