//! Structures as mmCIF and PDB, with the confidence where B-factors stand; expected errors as JSON.

use crate::{Atom, Chain, Point, Square};
use std::fmt::Write as _;

/// A chain that the columns of a PDB file have no room for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{id} {why}, which a PDB file has no room for: write mmCIF")]
pub struct TooLong {
    /// Which chain.
    pub id: String,
    /// What about it.
    pub why: String,
}

/// A chain as a PDB file, as chain A.
///
/// # Errors
/// If it has more atoms or larger numbers than the format's columns hold.
pub fn pdb(chain: &Chain) -> Result<String, TooLong> {
    const NUMBERS: std::ops::RangeInclusive<i32> = -999..=9_999;
    const SERIALS: usize = 99_999;
    let refuse = |why: String| TooLong {
        id: chain.id.clone(),
        why,
    };
    let mut text = String::new();
    let mut serial = 0;
    for residue in &chain.residues {
        if !NUMBERS.contains(&residue.number) {
            return Err(refuse(format!("has a residue numbered {}", residue.number)));
        }
        for (atom, at) in atoms(residue) {
            serial += 1;
            if serial >= SERIALS {
                return Err(refuse(format!("has more than {SERIALS} atoms")));
            }
            if at.iter().any(|x| !(-999.999..=9_999.999).contains(x)) {
                return Err(refuse(format!("has an atom at {at:?}")));
            }
            let name = residue.kind.name();
            let insertion = residue.insertion.unwrap_or(' ');
            let [x, y, z] = at;
            let b_factor = residue.b_factor.clamp(-99.99, 999.99);
            writeln!(
                text,
                "ATOM  {serial:>5}  {atom:<3} {name} A{number:>4}{insertion}   {x:>8.3}{y:>8.3}{z:>8.3}  1.00{b_factor:>6.2}          {element:>2}  ",
                atom = atom.name(),
                number = residue.number,
                element = element(atom),
            )
            .expect("a string takes all");
        }
    }
    if let Some(last) = chain.residues.last() {
        let insertion = last.insertion.unwrap_or(' ');
        let (name, number) = (last.kind.name(), last.number);
        writeln!(
            text,
            "TER   {:>5}      {name} A{number:>4}{insertion}",
            serial + 1
        )
        .expect("a string takes all");
    }
    text.push_str("END\n");
    Ok(text)
}

/// A chain as an mmCIF file, as chain A. If `confidence` is set its B-factors are pLDDT, and a table of ModelCIF
/// says so; viewers then colour the structure by it.
pub fn mmcif(chain: &Chain, confidence: bool) -> String {
    let name = cif_name(&chain.id);
    let mut text = format!("data_{name}\n#\n_entry.id {name}\n#\n");
    text.push_str("_entity.id 1\n_entity.type polymer\n#\n");
    text.push_str("_entity_poly.entity_id 1\n_entity_poly.type polypeptide(L)\n#\n");
    text.push_str("loop_\n_entity_poly_seq.entity_id\n_entity_poly_seq.num\n_entity_poly_seq.mon_id\n");
    for (i, residue) in chain.residues.iter().enumerate() {
        writeln!(text, "1 {} {}", i + 1, residue.kind.name()).expect("a string takes all");
    }
    text.push_str("#\n_struct_asym.id A\n_struct_asym.entity_id 1\n#\n");
    if confidence {
        text.push_str(
            "_ma_qa_metric.id 1\n_ma_qa_metric.mode local\n_ma_qa_metric.name pLDDT\n_ma_qa_metric.type pLDDT\n#\n\
             loop_\n_ma_qa_metric_local.label_asym_id\n_ma_qa_metric_local.label_comp_id\n\
             _ma_qa_metric_local.label_seq_id\n_ma_qa_metric_local.metric_id\n\
             _ma_qa_metric_local.metric_value\n_ma_qa_metric_local.model_id\n\
             _ma_qa_metric_local.ordinal_id\n",
        );
        for (i, residue) in chain.residues.iter().enumerate() {
            let (place, name, value) = (i + 1, residue.kind.name(), residue.b_factor);
            writeln!(text, "A {name} {place} 1 {value:.2} 1 {place}").expect("a string takes all");
        }
        text.push_str("#\n");
    }
    text.push_str("loop_\n");
    for field in [
        "group_PDB",
        "id",
        "type_symbol",
        "label_atom_id",
        "label_alt_id",
        "label_comp_id",
        "label_asym_id",
        "label_entity_id",
        "label_seq_id",
        "pdbx_PDB_ins_code",
        "Cartn_x",
        "Cartn_y",
        "Cartn_z",
        "occupancy",
        "B_iso_or_equiv",
        "auth_seq_id",
        "auth_asym_id",
        "pdbx_PDB_model_num",
    ] {
        writeln!(text, "_atom_site.{field}").expect("a string takes all");
    }
    let mut serial = 0;
    for (i, residue) in chain.residues.iter().enumerate() {
        for (atom, [x, y, z]) in atoms(residue) {
            serial += 1;
            writeln!(
                text,
                "ATOM {serial} {element} {atom} . {name} A 1 {place} {insertion} {x:.3} {y:.3} {z:.3} 1.00 {b:.2} {number} A 1",
                element = element(atom),
                atom = atom.name(),
                name = residue.kind.name(),
                place = i + 1,
                insertion = residue.insertion.unwrap_or('?'),
                b = residue.b_factor,
                number = residue.number,
            )
            .expect("a string takes all");
        }
    }
    text.push_str("#\n");
    text
}

/// Expected errors as JSON in the form of the AlphaFold database, in angstrom with one decimal.
pub fn pae_json(pae: &Square) -> String {
    let rounded = |value: &f32| (f64::from(*value) * 10.0).round() / 10.0;
    let rows: Vec<Vec<f64>> = (0..pae.side())
        .map(|i| pae.row(i).iter().map(rounded).collect())
        .collect();
    let most = rows
        .iter()
        .flatten()
        .fold(0.0, |most: f64, value| most.max(*value));
    let json = serde_json::to_string(&[Pae {
        predicted_aligned_error: rows,
        max_predicted_aligned_error: most,
    }]);
    format!("{}\n", json.expect("numbers are JSON"))
}

#[derive(serde::Serialize)]
struct Pae {
    predicted_aligned_error: Vec<Vec<f64>>,
    max_predicted_aligned_error: f64,
}

fn atoms(residue: &crate::Residue) -> impl Iterator<Item = (Atom, Point)> {
    let seen = Atom::ALL.into_iter().zip(residue.atoms);
    seen.filter_map(|(atom, at)| Some((atom, at?)))
}

fn element(atom: Atom) -> &'static str {
    match atom {
        Atom::N => "N",
        Atom::O => "O",
        Atom::Ca | Atom::C | Atom::Cb => "C",
    }
}

/// A name that needs no quotes in a CIF file.
fn cif_name(id: &str) -> String {
    let plain = |letter: char| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => letter,
        _ => '_',
    };
    let name: String = id.chars().map(plain).collect();
    match name.chars().next() {
        Some('_') | None => format!("model{name}"),
        Some(_) => name,
    }
}
