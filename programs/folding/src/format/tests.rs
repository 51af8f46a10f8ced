//! Files as the formats' documentation allows them, and bytes as nobody would write them.

use super::*;
use crate::{AminoAcid, Atom, Square};
use proptest::prelude::*;

/// An ATOM record: serial and element don't matter.
fn atom(
    kind: &str,
    name: &str,
    alternative: char,
    residue: &str,
    place: &str,
    x: f32,
    occupancy: f32,
) -> String {
    format!(
        "{kind:<6}    1 {name:<4}{alternative}{residue:>3} {place:<6}   {x:8.3}   2.000   3.000{occupancy:6.2} 20.00\n"
    )
}

/// N, CA and C of a residue, the CA at `x`.
fn backbone(kind: &str, residue: &str, place: &str, x: f32) -> String {
    let atoms = [(" N", -1.2), (" CA", 0.0), (" C", 1.2)];
    atoms
        .map(|(name, off)| atom(kind, name, ' ', residue, place, x + off, 1.0))
        .concat()
}

fn pdb_chains(text: &str) -> Vec<Chain> {
    parse_pdb(text.as_bytes()).unwrap().chains
}

fn x_of(chain: &Chain, residue: usize, atom: Atom) -> f32 {
    chain.residues[residue].atom(atom).unwrap()[0]
}

#[test]
fn insertion_codes_and_numbers_out_of_order_stay_as_they_are() {
    let places = ["A  52 ", "A  52A", "A  52B", "A  -3 ", "A  53 "];
    let text: String = places
        .iter()
        .map(|place| backbone("ATOM", "GLY", place, 0.0))
        .collect();
    let chains = pdb_chains(&text);
    let found: Vec<_> = chains[0]
        .residues
        .iter()
        .map(|r| (r.number, r.insertion))
        .collect();
    assert_eq!(
        found,
        [
            (52, None),
            (52, Some('A')),
            (52, Some('B')),
            (-3, None),
            (53, None)
        ]
    );
}

#[test]
fn of_alternatives_the_likeliest_is_taken_whole() {
    let place = "A   1 ";
    let text = [
        atom("ATOM", " N", ' ', "SER", place, 0.0, 1.0),
        atom("ATOM", " CA", 'A', "SER", place, 1.0, 0.4),
        atom("ATOM", " CA", 'B', "THR", place, 2.0, 0.6),
        atom("ATOM", " C", 'A', "SER", place, 3.0, 0.4),
        atom("ATOM", " C", 'B', "THR", place, 4.0, 0.6),
        atom("ATOM", " O", 'A', "SER", place, 5.0, 0.4),
    ];
    let chain = &pdb_chains(&text.concat())[0];
    // Two kinds of residue in one place: the likelier; what it lacks comes from the other.
    assert_eq!(chain.sequence().to_string(), "T");
    let seen = [Atom::N, Atom::Ca, Atom::C, Atom::O].map(|atom| x_of(chain, 0, atom));
    assert_eq!(seen, [0.0, 2.0, 4.0, 5.0]);
    let equal = text
        .concat()
        .replace("  0.40", "  0.50")
        .replace("  0.60", "  0.50");
    assert_eq!(
        pdb_chains(&equal)[0].sequence().to_string(),
        "S",
        "the first of equals"
    );
}

#[test]
fn modified_residues_count_and_ligands_do_not() {
    let text = [
        "MODRES 1ABC XYZ A    3  ALA  SOMETHING\n".to_owned(),
        backbone("ATOM", "LYS", "A   1 ", 0.0),
        backbone("HETATM", "MSE", "A   2 ", 4.0),
        backbone("HETATM", "XYZ", "A   3 ", 8.0),
        backbone("HETATM", "QQQ", "A   4 ", 12.0),
        atom("HETATM", "CA", ' ', " CA", "A   5 ", 0.0, 1.0),
        atom("HETATM", " O", ' ', "HOH", "A   6 ", 0.0, 1.0),
        "TER\n".to_owned(),
        // A free amino acid, after the chain's end.
        backbone("HETATM", "GLY", "A   7 ", 0.0),
    ];
    let chains = pdb_chains(&text.concat());
    assert_eq!(chains.len(), 1);
    assert_eq!(chains[0].sequence().to_string(), "KMAX");
}

#[test]
fn the_first_model_is_read_and_chains_are_kept_apart() {
    let text = [
        "HEADER\nMODEL        1\n".to_owned(),
        backbone("ATOM", "ALA", "A   1 ", 0.0),
        "TER\n".to_owned(),
        backbone("ATOM", "CYS", "b   1 ", 0.0),
        "TER\n".to_owned(),
        atom("ATOM", " C1'", ' ', " DA", "C   1 ", 0.0, 1.0),
        "ENDMDL\nMODEL        2\n".to_owned(),
        backbone("ATOM", "TRP", "A   1 ", 0.0),
        "ENDMDL\nEND\n".to_owned(),
    ];
    let chains = pdb_chains(&text.concat().replace('\n', "\r\n"));
    let found: Vec<_> = chains
        .iter()
        .map(|c| (c.id.as_str(), c.sequence().to_string()))
        .collect();
    assert_eq!(found, [("A", "A".to_owned()), ("b", "C".to_owned())]);
}

#[test]
fn a_residue_without_all_its_atoms_is_kept_and_leaves_breaks() {
    let text = [
        backbone("ATOM", "ALA", "A   1 ", 0.0),
        atom("ATOM", " CA", ' ', "ALA", "A   2 ", 3.8, 1.0),
        atom("ATOM", " CA", ' ', "ALA", "A   9 ", 23.8, 1.0),
        atom("ATOM", " O", ' ', "ALA", "A  10 ", 23.8, 1.0),
    ];
    let chain = &pdb_chains(&text.concat())[0];
    assert_eq!(chain.len(), 4);
    assert_eq!(chain.residues[1].frame(), None);
    let breaks: Vec<bool> = (0..5).map(|i| chain.breaks_after(i)).collect();
    assert_eq!(breaks, [false, true, true, false, false]);
}

#[test]
fn wrong_pdb_records_are_told_with_their_place() {
    let good = backbone("ATOM", "ALA", "A   1 ", 0.0);
    let cases = [
        (
            "ATOM      1  CA  ALA A   1      ",
            "line 4, column 31: nothing in columns 31 to 38, where x belongs",
        ),
        (
            "ATOM      1  CA  ALA A  x1 ",
            "line 4, column 23: \"x1\" in columns 23 to 26, where the residue's",
        ),
        (
            "ATOM      1  CA  ALA A   1         NaN   2.000   3.000",
            "line 4, column 31: x is NaN: it must be a finite number",
        ),
        (
            "ATOM      1  CA  ALA A   1       1.000   2.000   3.000  ho",
            "line 4, column 55: \"ho\" in columns 55 to 60",
        ),
        (
            "ATOM      1  CA  ALÄA   1 ",
            "line 4, column 18: a byte that isn't ASCII",
        ),
    ];
    for (line, expected) in cases {
        let error = parse_pdb(format!("{good}{line}").as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}\n{expected}");
    }
}

/// A file as wwPDB writes it, with what makes it hard.
const MMCIF: &str = "# a comment\ndata_1ABC\n_entry.id 1ABC\n_struct.title\n;A title; of\n'several' lines # all text\n;\n\
_citation.title 'It's a quote''s end'\nloop_\n_chem_comp.id\n_chem_comp.mon_nstd_parent_comp_id\nMSE MET\nQQQ \"ASP\"\n\
ALA ?\nloop_\n_atom_site.group_PDB\n_atom_site.id\n_atom_site.label_atom_id\n_atom_site.label_alt_id\n\
_atom_site.label_comp_id\n_atom_site.label_asym_id\n_atom_site.label_seq_id\n_atom_site.pdbx_PDB_ins_code\n\
_atom_site.Cartn_x\n_atom_site.Cartn_y\n_atom_site.Cartn_z\n_atom_site.occupancy\n_atom_site.B_iso_or_equiv\n\
_atom_site.auth_seq_id\n_atom_site.auth_asym_id\n_atom_site.pdbx_PDB_model_num\n\
ATOM 1 N . ALA A 1 ? 0 0 0 1.00 10.5 52 H 1\n\
ATOM 2 \"CA\" . ALA A 1 ? 1.5 0 0 1.00 10.5 52 H 1\n\
HETATM 3 CA . MSE A 2 A 5 0 0\n;1.00\n;\n12 52 H 1\n\
HETATM 4 CA . QQQ A 3 ? 9 0 0 . ? 53 H 1\n\
HETATM 5 CA . CA B . ? 9 0 0 1 1 101 H 1\n\
HETATM 6 O . HOH C . ? 9 0 0 1 1 201 H 1\n\
ATOM 7 \"C1'\" . DA D 1 ? 9 0 0 1 1 1 X 1\n\
ATOM 8 CA . TRP A 1 ? 9 0 0 1 1 52 H 2\n\
loop_\n_other.thing\n1 2 3\ndata_next\nloop_\n";

#[test]
fn mmcif_is_read_with_its_quotes_and_text_fields() {
    for text in [
        MMCIF.to_owned(),
        MMCIF.replace('\n', "\r\n"),
        MMCIF.replace("_atom_site", "_ATOM_SITE"),
    ] {
        let chains = parse_mmcif(text.as_bytes()).unwrap().chains;
        assert_eq!(chains.len(), 1);
        let chain = &chains[0];
        assert_eq!(
            (chain.id.as_str(), chain.sequence().to_string().as_str()),
            ("H", "AMD")
        );
        assert_eq!(
            (chain.residues[1].number, chain.residues[1].insertion),
            (52, Some('A'))
        );
        assert_eq!(x_of(chain, 0, Atom::Ca), 1.5);
        assert_eq!(
            (chain.residues[0].b_factor, chain.residues[2].b_factor),
            (10.5, 0.0)
        );
    }
}

#[test]
fn mmcif_without_loops_and_optional_fields_is_read() {
    let text = "data_x _atom_site.label_atom_id CA _atom_site.label_comp_id GLY _atom_site.label_asym_id A\n\
        _atom_site.label_seq_id 7 _atom_site.Cartn_x 1 _atom_site.Cartn_y 2 _atom_site.Cartn_z 3";
    let chain = &parse_mmcif(text.as_bytes()).unwrap().chains[0];
    assert_eq!((chain.id.as_str(), chain.residues[0].number), ("A", 7));
    assert_eq!(chain.residues[0].ca(), Some([1.0, 2.0, 3.0]));
}

#[test]
fn wrong_mmcif_is_told_with_its_place() {
    let table = "data_x\nloop_\n_atom_site.label_atom_id\n_atom_site.label_comp_id\n_atom_site.Cartn_x\n";
    let cases = [
        (
            "data_x\n_a.b 'open\n".to_owned(),
            "line 2, column 6: a quote that isn't closed",
        ),
        (
            "data_x\n_a.b\n;open\n".to_owned(),
            "line 3, column 1: a text field that isn't closed",
        ),
        (
            "data_x\n  _a.b".to_owned(),
            "line 2, column 3: a name without a value",
        ),
        (
            "data_x\n value".to_owned(),
            "line 2, column 2: a value without a name",
        ),
        (
            "data_x\nloop_\nvalue".to_owned(),
            "line 2, column 1: a loop_ without names",
        ),
        (
            "data_x\nloop_\n_a.b\n_a.c _a.d\n1 2 3\n4 5".to_owned(),
            "line 6, column 3: the table ends after 2 of 3 values",
        ),
        (
            format!("{table}CA ALA x1"),
            "line 6, column 8: \"x1\" where the number Cartn_x belongs",
        ),
        (
            format!("{table}CA ALA inf"),
            "line 6, column 8: \"inf\" where the number Cartn_x",
        ),
        (
            format!("{table}CA ALA 1.0"),
            "line 6, column 1: the row has no _atom_site.Cartn_y",
        ),
        (
            format!("{table}CA ? 1.0"),
            "line 6, column 4: the row has no _atom_site.label_comp_id",
        ),
    ];
    for (text, expected) in cases {
        let error = parse_mmcif(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\n{expected}");
    }
}

#[test]
fn fasta_is_read_as_people_write_it() {
    let text = "; old comment\n>one first of two\r\nMKV L\r\nxbz*\r\n>\nggg\n\n";
    let found = parse_fasta(text.as_bytes()).unwrap();
    let found: Vec<_> = found.iter().map(|s| (s.name.as_str(), s.to_string())).collect();
    assert_eq!(found, [("one", "MKVLXXX".to_owned()), ("", "GGG".to_owned())]);
    let cases = [
        ("", "line 1, column 1: no sequence"),
        ("MKV\n>a\nMKV\n", "line 1, column 1: no title"),
        (
            ">a\nMKV\n>b\n>c\nM\n",
            "line 3, column 1: title \"b\" has no residues",
        ),
        (">a\nMK V1\n", "line 2, column 5: '1' stands for no amino acid"),
        (">a\nM*K\n", "line 2, column 2: '*' stands for no amino acid"),
        (">a\nM-K\n", "line 2, column 2: a gap in a sequence"),
        (">a\nM\u{0}K\n", "line 2, column 2: a byte 0x00"),
    ];
    for (text, expected) in cases {
        let error = parse_fasta(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\n{expected}");
    }
}

#[test]
fn a3m_has_columns_and_what_stands_between() {
    let alignment = parse_a3m(b">q\nMK.V\n>other\nM-aaV\n>third\nggMKV\n").unwrap();
    assert_eq!(alignment.query.to_string(), "MKV");
    let row = &alignment.rows[1];
    assert_eq!(row.residues, [Some(AminoAcid::Met), None, Some(AminoAcid::Val)]);
    assert_eq!(row.inserted, [0, 0, 2]);
    assert_eq!(alignment.rows[2].inserted, [2, 0, 0]);
    let cases = [
        (
            ">q\nMKV\n>r\nMKVV\n",
            "line 3, column 1: a row of 4 columns in an alignment of 3",
        ),
        (">q\nM*V\n", "line 2, column 2: '*' stands for no amino acid"),
        (">q\n...\n", "line 1, column 1: title \"q\" has no residues"),
    ];
    for (text, expected) in cases {
        let error = parse_a3m(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\n{expected}");
    }
}

/// A chain with what a file can hold: numbers, insertions, missing atoms, any place.
fn any_chain() -> impl Strategy<Value = Chain> {
    let place = || proptest::option::weighted(0.8, proptest::array::uniform3(-999_000..999_000i32));
    let residue = (
        0..AminoAcid::COUNT,
        proptest::option::of(proptest::char::range('A', 'Z')),
        proptest::array::uniform3(proptest::array::uniform3(-999_000..999_000i32)),
        (place(), place()),
        0..9_999i32,
    );
    let residues = proptest::collection::vec(residue, 1..12);
    residues.prop_map(|residues| {
        let residues = residues.into_iter().enumerate();
        let residue =
            |(i, (kind, insertion, [n, ca, c], (o, cb), b)): (usize, (usize, _, [[i32; 3]; 3], _, i32))| {
                let at = |place: [i32; 3]| place.map(|x| x as f32 / 1000.0);
                let o: Option<[i32; 3]> = o;
                let cb: Option<[i32; 3]> = cb;
                crate::Residue {
                    kind: AminoAcid::all().nth(kind).unwrap(),
                    number: i as i32 - 4,
                    insertion,
                    atoms: [Some(at(n)), Some(at(ca)), Some(at(c)), o.map(at), cb.map(at)],
                    b_factor: b as f32 / 100.0,
                }
            };
        Chain {
            id: "A".to_owned(),
            residues: residues.map(residue).collect(),
        }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(chain in any_chain()) {
        let again = parse_pdb(pdb(&chain).unwrap().as_bytes()).unwrap();
        prop_assert_eq!(&again.chains, std::slice::from_ref(&chain));
        let again = parse_mmcif(mmcif(&chain, true).as_bytes()).unwrap();
        prop_assert_eq!(&again.chains, &[chain]);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        read_all(&bytes);
    }

    #[test]
    fn damaged_files_are_read_or_refused(
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0..3u8), 1..8),
        chain in any_chain(),
    ) {
        let files = [MMCIF.to_owned(), pdb(&chain).unwrap(), mmcif(&chain, false), ">q\nMKaV-\n>r\nMKV.-\n".to_owned()];
        for file in files {
            let mut bytes = file.into_bytes();
            for (at, byte, how) in &damage {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = *byte,
                    1 => bytes.insert(at, *byte),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            read_all(&bytes);
        }
    }
}

/// Odd files that others test their parsers with: with `KHUB_TORTURE=DIR` all of that folder are read, as every format.
/// docs/folding.md has a source.
#[test]
fn torture_files_are_read_or_refused() {
    let Some(folder) = std::env::var_os("KHUB_TORTURE") else {
        return;
    };
    let (mut folders, mut count) = (vec![PathBuf::from(folder)], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                read_all(&fs::read(&path).unwrap());
                count += 1;
            }
        }
    }
    println!("{count} files read or refused");
}

/// Every parser returns, and what it refuses lies within the file.
fn read_all(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let refused = [
        parse_pdb(bytes).err(),
        parse_mmcif(bytes).err(),
        parse_fasta(bytes).err(),
        parse_a3m(bytes).err(),
    ];
    for wrong in refused.into_iter().flatten() {
        assert!((1..=lines).contains(&wrong.line) && wrong.column >= 1, "{wrong}");
    }
}

#[test]
fn a_pdb_file_refuses_what_it_has_no_room_for() {
    let mut chain = pdb_chains(&backbone("ATOM", "ALA", "A   1 ", 0.0)).remove(0);
    chain.residues[0].number = 10_000;
    assert!(pdb(&chain).unwrap_err().to_string().contains("numbered 10000"));
    chain.residues[0].number = 1;
    chain.residues[0].atoms[0] = Some([0.0, 0.0, 12_345.0]);
    assert!(pdb(&chain).unwrap_err().to_string().contains("write mmCIF"));
    assert!(parse_mmcif(mmcif(&chain, false).as_bytes()).is_ok());
}

#[test]
fn expected_errors_have_the_form_of_the_alphafold_database() {
    let json = pae_json(&Square::from_fn(2, |i, j| i as f32 * 10.0 + j as f32 * 0.26));
    let expected =
        r#"[{"predicted_aligned_error":[[0.0,0.3],[10.0,10.3]],"max_predicted_aligned_error":10.3}]"#;
    assert_eq!(json.trim(), expected);
}

#[test]
fn a_folder_is_read_in_the_order_of_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let two = backbone("ATOM", "ALA", "A   1 ", 0.0) + &backbone("ATOM", "CYS", "B   1 ", 0.0);
    write("b.pdb", &two);
    write("a.CIF", MMCIF);
    write("empty.ent", "END\n");
    write("notes.txt", "no structure");
    let ids: Vec<String> = read_structures(folder.path())
        .unwrap()
        .into_iter()
        .map(|c| c.id)
        .collect();
    assert_eq!(ids, ["a", "b_A", "b_B"]);
    let refused = |name: &str| {
        read_structures(&folder.path().join(name))
            .unwrap_err()
            .to_string()
    };
    assert!(refused("empty.ent").ends_with("has no protein chain"));
    assert!(refused("notes.txt").contains("must end in .pdb"));
    write("bad.pdb", "ATOM  \n");
    assert!(
        read_structures(folder.path())
            .unwrap_err()
            .to_string()
            .contains("bad.pdb line 1, column 23")
    );
}
