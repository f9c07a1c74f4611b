"""Tables that commands write do not depend on how many rows are held as text at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tightbound.cli.files import write_table


def test_a_table_is_written_part_by_part(tmp_path: Path) -> None:
    x = torch.tensor([[0.5, 1], [1.25, 0], [-3, 1], [1e-9, 0], [7, 1]])
    for rows in (1, 2, 10):
        out = tmp_path / f"{rows}.csv"
        write_table(out, x, ["a", "b"], [(), ("no", "yes, yes")], {"row": np.arange(1, 6)}, rows=rows)
        expected = 'row,a,b\n1,0.5,"yes, yes"\n2,1.25,no\n3,-3,"yes, yes"\n4,9.99999972e-10,no\n5,7,"yes, yes"\n'
        assert out.read_text() == expected
