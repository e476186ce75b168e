"""Outline thyroid nodules, or the gland, in a folder of ultrasound images with a bundle and MONAI's own interface.

    python segment_with_bundle.py BUNDLE IMAGES OUT

Comes in: the folder of a bundle (`thyroid_nodule_segmentation` or `thyroid_gland_segmentation`) and a folder of images.
Goes out: `OUT/<stem>.png` for each image (0 and 255, the image's size), and a line on the screen. Nothing is
downloaded. Research use only; not a medical device.
"""

import sys
from pathlib import Path

from ignite.engine import Engine, Events
from monai.bundle import create_workflow


def main(bundle: Path, images: Path, out: Path) -> None:
    """Segment every image of a folder and its subfolders."""
    workflow = create_workflow(
        config_file=str(bundle / "configs" / "inference.json"),
        workflow_type="infer",
        # From here on, whatever configs/inference.json names can be given another value.
        bundle_root=str(bundle),
        dataset_dir=str(images),
        output_dir=str(out),
    )

    @workflow.evaluator.on(Events.ITERATION_COMPLETED)
    def tell(engine: Engine) -> None:
        for result in engine.state.output:
            name = Path(result["image"].meta["filename_or_obj"]).name
            probability, uncertainty = result["maps"]
            mask = result["pred"][0] > 0
            if mask.any():
                inside = f"probability {probability[mask].mean():.2f}, uncertainty {uncertainty[mask].mean():.2f}"
                print(f"{name}: {int(mask.sum())} pixels, {inside}")
            else:
                print(f"{name}: nothing found")

    workflow.run()
    workflow.finalize()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
