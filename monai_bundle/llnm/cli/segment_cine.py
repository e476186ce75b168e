"""What `llnm segment` does with one cine loop.

Comes in: an open loop. Goes out, in `DIR/<name>/`: `tracks/<frame>.png`, the track number of each pixel (16 bit,
0 where there is nothing), and `<frame>.png`, the mask of the main track's object (0/255), both written as each frame is
done; `tracks.csv`, a line for each object in each frame; and the loop's entry for `segment.json`. A frame that could
not be used has no masks. After an interruption the masks of the frames that were done stay; those in `<frame>.png` then
show what was the main track so far.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from rich.progress import Progress

from llnm.cli.common import console
from llnm.cli.progress import tell_share
from llnm.files import write_png, write_text

if TYPE_CHECKING:
    from llnm.imaging.cine import Cine
    from llnm.segmentation.tracks import Section, Track

DECIMALS = 4
NO_TRACK = 0
COLUMNS = ("track", "frame", "area_px", "area_mm2", "mean_probability", "x", "y")


def segment_loop(
    cine: Cine, name: str, out: Path, structure: str, network: str = "default", weights: Path | None = None
) -> dict[str, Any]:
    """Segment one loop, write its files into `out / name` and return its entry for `segment.json`.

    Raises InputError where no frame can be used, the file breaks off, or a file cannot be written.
    """
    from llnm.segmentation.cine import segment_cine
    from llnm.segmentation.tracks import gather_tracks

    folder = out / name
    sections: list[Section] = []
    warnings: dict[str, None] = {}
    problems: dict[int, str] = {}
    written: dict[int, int] = {}  # frame -> the track that its mask shows
    volume: dict[int, float] = {}
    with Progress(console=console, transient=True) as progress:
        found_frames = segment_cine(cine, structure, network=network, weights=weights)  # type: ignore[arg-type]
        for found in progress.track(found_frames, total=len(cine), description=f"Segmenting {name}"):
            tell_share(name, found.index, len(cine), f"Frame {found.index + 1} of {len(cine)}")
            if found.tracks is None:
                problems[found.index] = found.problem or "the frame cannot be used"
                continue
            for section in found.sections:
                volume[section.track] = volume.get(section.track, 0) + section.confident_area
            likely = max(volume, key=lambda track: volume[track], default=NO_TRACK)
            write_png(folder / "tracks" / f"{found.name}.png", found.tracks)
            write_png(folder / f"{found.name}.png", mask_of(found.tracks, likely))
            written[found.index] = likely
            sections += found.sections
            warnings.update(dict.fromkeys(found.warnings))
        tracks = gather_tracks(sections, len(written))
        main = next((track for track in tracks if not track.spurious), None)
        _settle_masks(folder, cine, written, main)
    write_text(folder / "tracks.csv", tracks_table(tracks, cine.frame_names))
    entry = _entry(cine, name, structure, tracks, main, problems, list(warnings), sorted(written))
    _tell(entry)
    return entry


def mask_of(tracks: np.ndarray, number: int) -> np.ndarray:
    """0/255 mask of one track in a map of track numbers; empty for NO_TRACK."""
    return np.where((tracks == number) & (tracks != NO_TRACK), 255, 0).astype(np.uint8)


def _settle_masks(folder: Path, cine: Cine, written: dict[int, int], main: Track | None) -> None:
    """Write again the masks that were written before the main track was known, from the maps on the disk."""
    number = NO_TRACK if main is None else main.number
    for index, shown in written.items():
        if shown != number:
            file = f"{cine.frame_names[index]}.png"
            with Image.open(folder / "tracks" / file) as tracks:
                write_png(folder / file, mask_of(np.asarray(tracks), number))


def tracks_table(tracks: tuple[Track, ...], frame_names: tuple[str, ...]) -> str:
    """`tracks.csv`: a line for each section, tracks in their order (the main one first), frames in theirs."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for track in tracks:
        for section in track.sections:
            table.writerow(
                (
                    track.number,
                    frame_names[section.frame],
                    section.area_px,
                    "" if section.area_mm2 is None else round(section.area_mm2, DECIMALS),
                    round(section.mean_probability, DECIMALS),
                    round(section.x, 1),
                    round(section.y, 1),
                )
            )
    return text.getvalue()


def _entry(
    cine: Cine,
    name: str,
    structure: str,
    tracks: tuple[Track, ...],
    main: Track | None,
    problems: dict[int, str],
    warnings: list[str],
    usable: list[int],
) -> dict[str, Any]:
    from llnm.segmentation.tracks import propose_section

    return {
        "folder": name,
        "structure": structure,
        "frames": len(cine),
        "found": main is not None,
        "main_track": None if main is None else main.number,
        "proposed_frame": None if main is None else _as_dict(cine, propose_section(main, usable)),
        "tracks": [_track_entry(cine, track, usable) for track in tracks],
        "problems": [{"frame": cine.frame_names[index], "problem": problems[index]} for index in sorted(problems)],
        "warnings": warnings,
    }


def _track_entry(cine: Cine, track: Track, usable: list[int]) -> dict[str, Any]:
    from llnm.segmentation.tracks import propose_section

    return {
        "track": track.number,
        "spurious": track.spurious,
        "frames": len(track.sections),
        "first_frame": cine.frame_names[track.sections[0].frame],
        "last_frame": cine.frame_names[track.sections[-1].frame],
        "confident_volume_px": round(track.confident_volume, 1),
        "largest_section": _as_dict(cine, propose_section(track, usable)),
    }


def _as_dict(cine: Cine, section: Section) -> dict[str, Any]:
    time = None if cine.times_s is None else round(cine.times_s[section.frame], DECIMALS)
    return {
        "frame": cine.frame_names[section.frame],
        "index": section.frame,
        "time_s": time,
        "area_px": section.area_px,
        "area_mm2": None if section.area_mm2 is None else round(section.area_mm2, DECIMALS),
        "mean_probability": round(section.mean_probability, DECIMALS),
        "mean_uncertainty": round(section.mean_uncertainty, DECIMALS),
        "x": round(section.x, 1),
        "y": round(section.y, 1),
    }


def _tell(entry: dict[str, Any]) -> None:
    name, structure, frames = entry["folder"], entry["structure"], entry["frames"]
    proposed, real = entry["proposed_frame"], sum(not track["spurious"] for track in entry["tracks"])
    text = f"no {structure} in {frames} frames."
    if proposed is not None:
        text = (
            f"{real} {structure} track(s) in {frames} frames; proposed frame {proposed['frame']} "
            f"({proposed['area_px']} pixels, mean probability {proposed['mean_probability']:.2f})."
        )
    console.print(f"{name}: {text}", markup=False)
    if entry["problems"]:
        console.print(f"{name}: {len(entry['problems'])} frames could not be used; see segment.json.", markup=False)
