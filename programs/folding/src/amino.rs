//! The twenty amino acids, and the one that isn't known.

/// A residue's type, in the order that AlphaFold and its successors use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is its own name")]
pub enum AminoAcid {
    Ala,
    Arg,
    Asn,
    Asp,
    Cys,
    Gln,
    Glu,
    Gly,
    His,
    Ile,
    Leu,
    Lys,
    Met,
    Phe,
    Pro,
    Ser,
    Thr,
    Trp,
    Tyr,
    Val,
    /// Any other, or nobody knows which.
    Unknown,
}

/// Every type with its letter and its name, in order.
const TABLE: [(AminoAcid, char, &str); AminoAcid::COUNT] = [
    (AminoAcid::Ala, 'A', "ALA"),
    (AminoAcid::Arg, 'R', "ARG"),
    (AminoAcid::Asn, 'N', "ASN"),
    (AminoAcid::Asp, 'D', "ASP"),
    (AminoAcid::Cys, 'C', "CYS"),
    (AminoAcid::Gln, 'Q', "GLN"),
    (AminoAcid::Glu, 'E', "GLU"),
    (AminoAcid::Gly, 'G', "GLY"),
    (AminoAcid::His, 'H', "HIS"),
    (AminoAcid::Ile, 'I', "ILE"),
    (AminoAcid::Leu, 'L', "LEU"),
    (AminoAcid::Lys, 'K', "LYS"),
    (AminoAcid::Met, 'M', "MET"),
    (AminoAcid::Phe, 'F', "PHE"),
    (AminoAcid::Pro, 'P', "PRO"),
    (AminoAcid::Ser, 'S', "SER"),
    (AminoAcid::Thr, 'T', "THR"),
    (AminoAcid::Trp, 'W', "TRP"),
    (AminoAcid::Tyr, 'Y', "TYR"),
    (AminoAcid::Val, 'V', "VAL"),
    (AminoAcid::Unknown, 'X', "UNK"),
];

/// Modified residues that structures are full of, with what they were before, as the Chemical Component
/// Dictionary names their parents.
const MODIFIED: [(&str, AminoAcid); 18] = [
    ("MSE", AminoAcid::Met),
    ("SEP", AminoAcid::Ser),
    ("TPO", AminoAcid::Thr),
    ("PTR", AminoAcid::Tyr),
    ("HYP", AminoAcid::Pro),
    ("CSO", AminoAcid::Cys),
    ("CME", AminoAcid::Cys),
    ("CSD", AminoAcid::Cys),
    ("OCS", AminoAcid::Cys),
    ("CSS", AminoAcid::Cys),
    ("KCX", AminoAcid::Lys),
    ("MLY", AminoAcid::Lys),
    ("M3L", AminoAcid::Lys),
    ("ALY", AminoAcid::Lys),
    ("LLP", AminoAcid::Lys),
    ("PCA", AminoAcid::Gln),
    ("TYS", AminoAcid::Tyr),
    ("FME", AminoAcid::Met),
];

impl AminoAcid {
    /// How many types there are, the unknown one counted.
    pub const COUNT: usize = 21;

    /// Every type in order; `ALL[i].index() == i`.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        TABLE.iter().map(|(kind, _, _)| *kind)
    }

    /// Its place in the order, below [`AminoAcid::COUNT`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The letter of FASTA files; `X` if unknown.
    pub fn letter(self) -> char {
        TABLE[self.index()].1
    }

    /// The name in structures; `UNK` if unknown.
    pub fn name(self) -> &'static str {
        TABLE[self.index()].2
    }

    /// What a letter of a sequence stands for, in either case. The letters of ambiguous and rare residues (B, J,
    /// O, U, X, Z) are the unknown one; no other character is a residue.
    pub fn from_letter(letter: char) -> Option<Self> {
        let letter = letter.to_ascii_uppercase();
        let known = TABLE.iter().find(|(_, one, _)| *one == letter);
        match known {
            Some((kind, _, _)) => Some(*kind),
            None if "BJOUZ".contains(letter) => Some(Self::Unknown),
            None => None,
        }
    }

    /// The residue of this name in a structure: one of the twenty, a modified one by its parent, or one of those
    /// that stand for an unknown residue. None for anything else, such as water.
    pub fn from_name(name: &str) -> Option<Self> {
        let known = TABLE.iter().find(|(_, _, three)| *three == name);
        let modified = || MODIFIED.iter().find(|(three, _)| *three == name);
        match known {
            Some((kind, _, _)) => Some(*kind),
            None if ["ASX", "GLX", "SEC", "PYL"].contains(&name) => Some(Self::Unknown),
            None => modified().map(|(_, parent)| *parent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_names_and_places_agree() {
        for (place, kind) in AminoAcid::all().enumerate() {
            assert_eq!(kind.index(), place);
            assert_eq!(AminoAcid::from_letter(kind.letter()), Some(kind));
            assert_eq!(
                AminoAcid::from_letter(kind.letter().to_ascii_lowercase()),
                Some(kind)
            );
            assert_eq!(AminoAcid::from_name(kind.name()), Some(kind));
        }
        assert_eq!(AminoAcid::from_letter('B'), Some(AminoAcid::Unknown));
        assert_eq!(AminoAcid::from_letter('*'), None);
        assert_eq!(AminoAcid::from_name("MSE"), Some(AminoAcid::Met));
        assert_eq!(AminoAcid::from_name("HOH"), None);
    }
}
