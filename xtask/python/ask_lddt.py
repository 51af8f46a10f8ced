"""lDDT over CA by Biotite (`pip install biotite`): reads lines of two PDB files, the model and the reference, and
prints a number for each line."""

import sys

from biotite.structure import lddt
from biotite.structure.io.pdb import PDBFile


def alphas(path):
    atoms = PDBFile.read(path).get_structure(model=1)
    return atoms[atoms.atom_name == "CA"]


for line in sys.stdin:
    model, reference = line.split()
    print(f"{lddt(alphas(reference), alphas(model)):.5f}")
