"""The table of models: one entry each, facts only, as their publishers state them.

Hashes, sizes and commits are those of the Hub. A model whose weights lie on no pinned Hub
repository has no source: its file is placed by hand, and `page` says where the authors keep it.
Commercial use is read strictly: "unclear" is what a permissive label on weights trained with
research data is worth.
"""

from __future__ import annotations

from .card import ModelCard
from .cards_faces import DETECTORS, EMBEDDERS, ESTIMATORS, LANDMARKS, PARSERS
from .cards_restorers import RESTORERS

#: Every model by name, restorers first.
CARDS: dict[str, ModelCard] = {
    card.name: card
    for card in (*RESTORERS, *DETECTORS, *LANDMARKS, *PARSERS, *EMBEDDERS, *ESTIMATORS)
}
