//! Measures beside the programs that the field uses: TM-score and DSSP, as Debian packages them (tm-align
//! 20190822, dssp 4.2.2), and Biotite's lDDT (1.6.0; `KHUB_PYTHON` is a Python that has it).
//!
//! The structures are made from seeds, and what the programs said of them is kept in `fixtures`. With
//! `KHUB_REFEREES` set the programs are run and the fixtures written anew; with `KHUB_DATA` set too, 100 pairs of
//! real proteins are compared as well.

use folding::measure::{Dihedrals, dihedrals, lddt_ca, rmsd, tm_score};
use folding::{AminoAcid, Chain, Prediction, Random, Sequence, backbone, pdb, read_structures};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// By how much a TM-score may differ: the programs print four digits, and their searches aren't ours.
const TOLERANCE: f64 = 0.005;

#[test]
fn tm_scores_are_those_of_tm_score() {
    let path = fixture("tm-score.txt");
    if env::var_os("KHUB_REFEREES").is_some() {
        let mut text = "# pair, TM-score, GDT-TS and RMSD by TMscore\n".to_owned();
        for i in 0..PAIRS {
            let [tm, gdt, rmsd] = ask_tm_score(&pair(i));
            writeln!(text, "{i} {tm} {gdt} {rmsd}").unwrap();
        }
        fs::write(&path, text).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rows.len(), PAIRS);
    for row in rows {
        let numbers: Vec<f64> = row.split(' ').map(|word| word.parse().unwrap()).collect();
        compare(
            &pair(numbers[0] as usize),
            [numbers[1], numbers[2], numbers[3]],
            row,
        );
    }
}

#[test]
fn tm_scores_of_real_proteins_are_those_of_tm_score() {
    let Some(pairs) = real_pairs() else { return };
    let mut worst = 0.0f64;
    for (i, pair) in pairs.iter().enumerate() {
        worst = worst.max(compare(pair, ask_tm_score(pair), &format!("real pair {i}")));
    }
    println!("largest difference of TM-score over {PAIRS} real pairs: {worst:.5}");
}

#[test]
fn lddt_is_that_of_biotite() {
    let path = fixture("lddt.txt");
    let pairs: Vec<[Chain; 2]> = (0..PAIRS).map(pair).collect();
    if env::var_os("KHUB_REFEREES").is_some() {
        let said = ask_lddt(&pairs);
        fs::write(&path, format!("# lDDT over CA of each pair by Biotite\n{said}")).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    let found = text.lines().filter(|line| !line.starts_with('#'));
    let found: Vec<f64> = found.map(|line| line.parse().unwrap()).collect();
    compare_lddt(&pairs, &found);
}

#[test]
fn lddt_of_real_proteins_is_that_of_biotite() {
    let Some(pairs) = real_pairs() else { return };
    let said = ask_lddt(&pairs);
    let found: Vec<f64> = said.lines().map(|line| line.parse().unwrap()).collect();
    let worst = compare_lddt(&pairs, &found);
    println!("largest difference of lDDT over {PAIRS} real pairs: {worst:.6}");
}

#[test]
fn angles_are_those_of_dssp() {
    let path = fixture("dssp.txt");
    let chains: Vec<Chain> = (0..5).map(|i| pair(7 * i)[0].clone()).collect();
    if env::var_os("KHUB_REFEREES").is_some() {
        let mut text = "# phi and psi by mkdssp, 360 where there is none\n".to_owned();
        chains.iter().for_each(|chain| text.push_str(&ask_dssp(chain)));
        fs::write(&path, text).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    let mut rows = text.lines().filter(|line| !line.starts_with('#'));
    for chain in &chains {
        for own in dihedrals(&rounded(chain)) {
            let row: Vec<f64> = rows
                .next()
                .unwrap()
                .split(' ')
                .map(|word| word.parse().unwrap())
                .collect();
            for (own, dssp) in [own.phi, own.psi].into_iter().zip(row) {
                let off = own.unwrap_or(360.0) - dssp;
                assert!(
                    (off - 360.0 * (off / 360.0).round()).abs() <= 0.0501,
                    "{own:?} and {dssp}"
                );
                assert_eq!(own.is_none(), dssp == 360.0);
            }
        }
    }
    assert!(rows.next().is_none());
}

const PAIRS: usize = 100;

/// Two structures of one sequence. Every second pair is alike, more or less: the angles of one are disturbed.
fn pair(i: usize) -> [Chain; 2] {
    let mut random = Random::new(i as u64);
    let length = 10 + random.below(190);
    let angles = wander(&mut random, length);
    let spread = [0.5, 2.0, 5.0, 10.0, 25.0][i / 2 % 5];
    let other = match i % 2 {
        0 => angles
            .iter()
            .map(|own| disturb(own, spread, &mut random))
            .collect(),
        _ => wander(&mut random, length),
    };
    [chain(&angles), chain(&other)]
}

/// Two different real proteins, each cut to the shorter; none unless referees are to be asked and the data are here.
fn real_pairs() -> Option<Vec<[Chain; 2]>> {
    let (_, data) = (env::var_os("KHUB_REFEREES")?, env::var_os("KHUB_DATA")?);
    let chains = read_structures(&Path::new(&data).join("proteins/train")).unwrap();
    let pair = |i: usize| {
        let [mut a, mut b] = [2 * i, 2 * i + 1].map(|k| chains[k * chains.len() / (2 * PAIRS)].clone());
        let length = a.len().min(b.len());
        for chain in [&mut a, &mut b] {
            chain.residues.truncate(length);
            for (number, residue) in chain.residues.iter_mut().enumerate() {
                (residue.number, residue.insertion) = (number as i32 + 1, None);
            }
        }
        [a, b]
    };
    Some((0..PAIRS).map(pair).collect())
}

/// Angles of pieces of helix, strand and coil.
fn wander(random: &mut Random, length: usize) -> Vec<Dihedrals> {
    let mut angles = Vec::new();
    while angles.len() < length {
        let (phi, psi, spread) =
            [(-62.0, -42.0, 6.0), (-120.0, 130.0, 15.0), (-80.0, 60.0, 50.0)][random.below(3)];
        let typical = Dihedrals {
            phi: Some(phi),
            psi: Some(psi),
            omega: Some(180.0),
        };
        for _ in 0..3 + random.below(12) {
            angles.push(disturb(&typical, spread, random));
        }
    }
    angles.truncate(length);
    angles
}

fn disturb(angles: &Dihedrals, spread: f64, random: &mut Random) -> Dihedrals {
    let mut turned = |angle: Option<f64>| angle.map(|angle| angle + spread * random.normal());
    Dihedrals {
        phi: turned(angles.phi),
        psi: turned(angles.psi),
        omega: Some(180.0),
    }
}

fn chain(angles: &[Dihedrals]) -> Chain {
    let prediction = Prediction {
        sequence: Sequence {
            name: "made".to_owned(),
            residues: vec![AminoAcid::Ala; angles.len()],
        },
        atoms: backbone(angles),
        plddt: vec![0.0; angles.len()],
        pae: None,
        contacts: None,
    };
    prediction.chain()
}

/// Compares with what the referee found; returns the difference of the TM-scores.
fn compare([model, reference]: &[Chain; 2], [tm, gdt, distance]: [f64; 3], what: &str) -> f64 {
    let places = |chain: &Chain| -> Vec<[f64; 3]> {
        let places = rounded(chain).residues.into_iter();
        places
            .map(|residue| residue.ca().unwrap().map(f64::from))
            .collect()
    };
    let (model, reference) = (places(model), places(reference));
    let found = tm_score(&model, &reference, reference.len());
    let off = (found.tm_score - tm).abs();
    assert!(off <= TOLERANCE, "{} for {what}", found.tm_score);
    // Of GDT-TS the share of one residue may differ at a border.
    assert!(
        (found.gdt_ts - gdt).abs() <= TOLERANCE + 0.5 / reference.len() as f64,
        "{} for {what}",
        found.gdt_ts
    );
    assert!((rmsd(&model, &reference) - distance).abs() <= 0.0011, "{what}");
    off
}

/// Compares with what the referee found; returns the largest difference.
fn compare_lddt(pairs: &[[Chain; 2]], found: &[f64]) -> f64 {
    assert_eq!(pairs.len(), found.len());
    let off = pairs.iter().zip(found).enumerate().map(|(i, (pair, found))| {
        let [model, reference] = pair.each_ref().map(rounded);
        let own = lddt_ca(&model, &reference).score;
        assert!((own - found).abs() < 1e-4, "{own} and {found} for pair {i}");
        (own - found).abs()
    });
    off.fold(0.0, f64::max)
}

/// As a PDB file has it, to a thousandth of an angstrom.
fn rounded(chain: &Chain) -> Chain {
    let text = pdb(chain).unwrap();
    folding::parse_pdb(text.as_bytes()).unwrap().chains.remove(0)
}

/// The TM-score, GDT-TS and RMSD that TMscore prints.
fn ask_tm_score(pair: &[Chain; 2]) -> [f64; 3] {
    let folder = tempfile::tempdir().unwrap();
    let paths = [0, 1].map(|k| folder.path().join(format!("{k}.pdb")));
    for (chain, path) in pair.iter().zip(&paths) {
        fs::write(path, pdb(chain).unwrap()).unwrap();
    }
    let output = Command::new("TMscore").args(&paths).output();
    let output = output.expect("TMscore runs: `apt-get install tm-align`").stdout;
    let text = String::from_utf8(output).unwrap();
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        let value = line.split_once('=').unwrap().1.split_whitespace().next().unwrap();
        value.parse().unwrap()
    };
    [
        value("TM-score  "),
        value("GDT-TS-score"),
        value("RMSD of  the common residues"),
    ]
}

/// A line with the lDDT of each pair, from Biotite.
fn ask_lddt(pairs: &[[Chain; 2]]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for (i, pair) in pairs.iter().enumerate() {
        for (chain, which) in pair.iter().zip(["model", "reference"]) {
            let path = folder.path().join(format!("{i}-{which}.pdb"));
            fs::write(&path, pdb(chain).unwrap()).unwrap();
            write!(lines, "{} ", path.display()).unwrap();
        }
        lines.push('\n');
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/python/ask_lddt.py");
    let python = env::var_os("KHUB_PYTHON").unwrap_or_else(|| "python3".into());
    let mut asked = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    asked.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = asked.wait_with_output().unwrap();
    assert!(output.status.success(), "`pip install biotite`, and KHUB_PYTHON");
    String::from_utf8(output.stdout).unwrap()
}

/// A line with phi and psi for each residue, from what mkdssp writes.
fn ask_dssp(chain: &Chain) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("a.pdb"), folder.path().join("a.dssp"));
    // It wants these records.
    let head = "HEADER    MADE                                    01-JAN-00   XXXX\n\
        CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1\n";
    fs::write(&from, format!("{head}{}", pdb(chain).unwrap())).unwrap();
    let done = Command::new("mkdssp")
        .args(["--output-format", "dssp"])
        .args([&from, &to])
        .output();
    let done = done.expect("mkdssp runs: `apt-get install dssp`");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = fs::read_to_string(to).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("  #")).skip(1);
    rows.map(|row| format!("{} {}\n", row[103..109].trim(), row[109..115].trim()))
        .collect()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/fixtures")
        .join(name)
}
