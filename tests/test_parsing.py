"""stages.parsing: labels by name, whatever a parser's numbering, at the crop's own size."""

from __future__ import annotations

import pytest
import torch
from fixed_host import Fixed
from torch import nn

from kintsugi.models import zoo
from kintsugi.stages.parsing import CHANNELS, CLASSES, FACE, PAIRED, Parsing, parse


class Levels(nn.Module):
    """Scores by the red of a pixel: channel k where it is k / 20, all else equal."""

    def __init__(self, low: float, high: float, channels: int = 19):
        super().__init__()
        self.levels = nn.Parameter(torch.arange(channels) / 20)
        self.low, self.high, self.shapes = low, high, []

    def forward(self, image):
        self.shapes.append(tuple(image.shape))
        red = (image[:, :1] - self.low) / (self.high - self.low)
        return -2000 * (red - self.levels.view(1, -1, 1, 1)) ** 2


def levels(model: str) -> Levels:
    """Reads a red in [0, 1] back from what a parser is fed."""
    low, high = {"bisenet": (-0.485 / 0.229, 0.515 / 0.229), "parsenet": (-1.0, 1.0)}[model]
    return Levels(low, high)


def picture(rows: list[list[int]], size: int) -> torch.Tensor:
    """(1, size, size, 3) of rectangles, rows and columns of channel numbers."""
    red = torch.tensor(rows, dtype=torch.float32) / 20
    y = torch.arange(size) * red.shape[0] // size
    x = torch.arange(size) * red.shape[1] // size
    return red[y][:, x][None, :, :, None].expand(1, size, size, 3).contiguous()


@pytest.mark.parametrize("model", ["bisenet", "parsenet"])
@pytest.mark.parametrize("size", [512, 256, 1024])
def test_each_channel_becomes_the_class_of_its_name(model, size):
    names = CHANNELS[model]
    nose = names.index("nose")
    # A band for each channel, left and right of a nose that runs down the middle.
    bands = picture([[channel, nose, nose, channel] for channel in range(19)], size)
    found = parse(bands, model=model, host=Fixed(levels(model)))
    assert found.labels.shape == (1, size, size) and found.labels.dtype == torch.uint8
    for channel, name in enumerate(names):
        row = found.labels[0, int((channel + 0.5) * size / 19)]
        sides = ("left ", "right ") if name in PAIRED else ("", "")
        assert CLASSES[row[size // 8]] == sides[0] + name
        assert CLASSES[row[-size // 8]] == sides[1] + name
        assert CLASSES[row[size // 2]] == "nose"


def test_parsers_run_at_their_own_size_whatever_the_crop():
    for size in (64, 512, 700):
        host = Fixed(levels("bisenet"))
        parse(torch.zeros(3, size, size, 3), host=host)
        assert host.network.shapes == [(3, 3, 512, 512)]
        assert host.loaded == ["bisenet"]


def test_a_pair_split_between_its_channels_beats_skin():
    class Split(Levels):
        def forward(self, image):
            scores = torch.full((len(image), 19, *image.shape[-2:]), -9.0)
            brows = [i for i, name in enumerate(CHANNELS["bisenet"]) if name == "brow"]
            scores[:, brows] = 1.0
            scores[:, CHANNELS["bisenet"].index("skin")] = 1.3
            return scores

    found = parse(torch.zeros(1, 64, 64, 3), host=Fixed(Split(0, 1)))
    # No nose shows: the middle of the crop parts left from right.
    assert (found.labels[0, :, :32] == CLASSES.index("left brow")).all()
    assert (found.labels[0, :, 32:] == CLASSES.index("right brow")).all()


def test_grey_alpha_and_other_dtypes_are_taken():
    names = CHANNELS["parsenet"]
    stripes = picture([[names.index("hair"), names.index("skin")]], 512)
    for pictures in (
        stripes[..., :1],
        torch.cat((stripes, torch.ones_like(stripes[..., :1])), -1),
        stripes.double(),
    ):
        found = parse(pictures, model="parsenet", host=Fixed(levels("parsenet")))
        assert found.share("hair") == found.share("skin") == 0.5


def test_masks_join_classes_by_name():
    labels = torch.tensor([[[CLASSES.index("skin"), CLASSES.index("hair")], [0, 10]]])
    found = Parsing(labels.to(torch.uint8))
    assert found.mask("skin", "nose").tolist() == [[[1, 0], [0, 1]]]
    assert found.mask(*FACE).sum() == 2
    assert found.share("background").tolist() == [0.25]
    with pytest.raises(ValueError, match="no class beard; choose from background"):
        found.mask("skin", "beard")


def test_no_crops_ask_for_no_network():
    host = Fixed(levels("bisenet"))
    assert parse(torch.zeros(0, 512, 512, 3), host=host).labels.shape == (0, 512, 512)
    assert host.loaded == []


def test_bad_settings_say_what_is_known():
    with pytest.raises(ValueError, match="unknown parser 'sam'; choose one of bisenet, parsenet"):
        parse(torch.zeros(1, 64, 64, 3), model="sam")
    with pytest.raises(ValueError, match="expected squares"):
        parse(torch.zeros(1, 64, 32, 3))


def test_every_parser_card_has_a_table_of_its_channels():
    cards = [card for card in zoo.CARDS.values() if card.kind == "parser"]
    assert {card.architecture for card in cards} == set(CHANNELS)
    for names in CHANNELS.values():
        assert len(names) == 19
        single = {name for name in CLASSES if name.split()[-1] not in PAIRED}
        assert set(names) == single | set(PAIRED)
        assert all(names.count(name) == (2 if name in PAIRED else 1) for name in names)
