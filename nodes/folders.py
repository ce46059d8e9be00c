"""The model folders this pack reads, shared with the packs that already filled them.

A category another pack registered keeps its folders and extensions; ours are added behind them, so
`extra_model_paths.yaml` and other packs stay in charge.
"""

from __future__ import annotations

import os

import folder_paths

#: Categories, each a folder of that name below `models/`. facerestore_cf, ReActor and fofr's nodes
#: keep their files in the first two.
CATEGORIES = ("facerestore_models", "facedetection", "kintsugi")


def register_folders() -> None:
    """Make the categories known to ComfyUI; nothing on disk changes."""
    for category in CATEGORIES:
        folder = os.path.join(folder_paths.models_dir, category)
        folder_paths.add_model_folder_path(category, folder)


def model_folders() -> dict[str, list[str]]:
    """The folders of our categories as they stand now; downloads go to the first of each."""
    return {category: folder_paths.get_folder_paths(category) for category in CATEGORIES}
