//! mmCIF, as the Protein Data Bank writes it (mmcif.wwpdb.org): tables of named values in CIF 1.1's grammar
//! (iucr.org/resources/cif/spec/version1.1/cifsyntax).

mod tokens;

use super::atoms::{Collector, Listed};
use super::{Structure, Wrong};
use std::str::FromStr;
use tokens::{Kind, Token, Tokens};

/// The protein chains of an mmCIF file's first data block and first model, under the names that the authors gave
/// them.
///
/// Of several places of an atom, those of the alternative that was seen most are taken. Modified residues count
/// as what they were, as the file or a list of ours says.
///
/// # Errors
/// If the file breaks the grammar, or if a row of `_atom_site` lacks a value or has one that can't be read.
pub fn parse_mmcif(bytes: &[u8]) -> Result<Structure, Wrong> {
    let mut file = File::default();
    let mut tokens = Tokens::new(bytes);
    let mut blocks = 0;
    // The values given one by one, of the category whose turn it is: together they are a row.
    let mut single: (Vec<Token<'_>>, Vec<Token<'_>>) = Default::default();
    let mut token = tokens.next()?;
    while let Some(here) = token.take() {
        let same = single
            .0
            .first()
            .is_some_and(|first| category(first) == category(&here));
        if !same {
            file.row(&single.0, &single.1)?;
            single = Default::default();
        }
        match here.kind {
            Kind::Data => {
                blocks += 1;
                if blocks > 1 {
                    break;
                }
            }
            Kind::Save => {}
            Kind::Loop => {
                token = file.table(&here, &mut tokens)?;
                continue;
            }
            Kind::Name => match tokens.next()? {
                Some(value) if value.is_value() => {
                    single.0.push(here);
                    single.1.push(value);
                }
                _ => return Err(here.wrong("a name without a value")),
            },
            Kind::Bare | Kind::Quoted => {
                return Err(here.wrong("a value without a name: is a quote or a `;` missing before?"));
            }
        }
        token = tokens.next()?;
    }
    file.row(&single.0, &single.1)?;
    Ok(file.collector.finish())
}

/// The part of a name before its dot.
fn category<'a>(name: &Token<'a>) -> Option<&'a [u8]> {
    let dot = name.bytes.iter().position(|byte| *byte == b'.')?;
    (name.kind == Kind::Name).then(|| &name.bytes[..dot])
}

/// What has been read so far.
#[derive(Default)]
struct File {
    collector: Collector,
    /// The number of the first model.
    model: Option<String>,
}

impl File {
    /// Reads a table; returns the token after it.
    fn table<'a>(&mut self, begin: &Token<'a>, tokens: &mut Tokens<'a>) -> Result<Option<Token<'a>>, Wrong> {
        let mut names = Vec::new();
        let mut token = tokens.next()?;
        while let Some(name) = token.take_if(|token| token.kind == Kind::Name) {
            names.push(name);
            token = tokens.next()?;
        }
        if names.is_empty() {
            return Err(begin.wrong("a loop_ without names"));
        }
        let mut row = Vec::with_capacity(names.len());
        while let Some(value) = token.take_if(|token| token.is_value()) {
            row.push(value);
            if row.len() == names.len() {
                self.row(&names, &row)?;
                row.clear();
            }
            token = tokens.next()?;
        }
        match row.last() {
            None => Ok(token),
            Some(last) => Err(last.wrong(&format!(
                "the table ends after {} of {} values of a row",
                row.len(),
                names.len()
            ))),
        }
    }

    /// Takes what a row tells of atoms and of modified residues.
    fn row(&mut self, names: &[Token<'_>], values: &[Token<'_>]) -> Result<(), Wrong> {
        let (Some(first), Some(start)) = (names.first(), values.first()) else {
            return Ok(());
        };
        let row = Row { names, values, start };
        let Some(category) = category(first) else {
            return Ok(());
        };
        if category.eq_ignore_ascii_case(b"_atom_site") {
            self.atom(&row)
        } else if category.eq_ignore_ascii_case(b"_chem_comp") {
            self.modified(&row, "id", "mon_nstd_parent_comp_id")
        } else if category.eq_ignore_ascii_case(b"_pdbx_struct_mod_residue") {
            self.modified(&row, "label_comp_id", "parent_comp_id")
        } else {
            Ok(())
        }
    }

    fn modified(&mut self, row: &Row<'_, '_>, name: &str, parent: &str) -> Result<(), Wrong> {
        if let (Some(name), Some(parent)) = (row.text(name)?, row.text(parent)?) {
            self.collector.modified(name, parent);
        }
        Ok(())
    }

    fn atom(&mut self, row: &Row<'_, '_>) -> Result<(), Wrong> {
        let model = row.text("pdbx_PDB_model_num")?.unwrap_or("1");
        if self.model.get_or_insert_with(|| model.to_owned()) != model {
            return Ok(());
        }
        let letter = |text: Option<&str>| text.and_then(|text| text.chars().next());
        let label_number = row.text("label_seq_id")?;
        let number = match row.number("auth_seq_id")? {
            Some(number) => number,
            None => row.number("label_seq_id")?.unwrap_or(0),
        };
        // Ligands and water have no place in a sequence. A file that gives no places says it by the group.
        let polymer = match row.has("label_seq_id") {
            true => label_number.is_some(),
            false => row.text("group_PDB")? != Some("HETATM"),
        };
        let listed = Listed {
            chain: row
                .text("auth_asym_id")?
                .or(row.text("label_asym_id")?)
                .unwrap_or(""),
            number,
            insertion: letter(row.text("pdbx_PDB_ins_code")?),
            residue: row.needed(
                row.text("label_comp_id")?.or(row.text("auth_comp_id")?),
                "label_comp_id",
            )?,
            atom: row.needed(
                row.text("label_atom_id")?.or(row.text("auth_atom_id")?),
                "label_atom_id",
            )?,
            alternative: letter(row.text("label_alt_id")?),
            at: [
                row.coordinate("Cartn_x")?,
                row.coordinate("Cartn_y")?,
                row.coordinate("Cartn_z")?,
            ],
            occupancy: row.number("occupancy")?.unwrap_or(1.0),
            b_factor: row.number("B_iso_or_equiv")?.unwrap_or(0.0),
            polymer,
        };
        self.collector.add(&listed);
        Ok(())
    }
}

/// A row of a table.
struct Row<'r, 'a> {
    names: &'r [Token<'a>],
    values: &'r [Token<'a>],
    /// Where it begins.
    start: &'r Token<'a>,
}

impl<'a> Row<'_, 'a> {
    fn value(&self, field: &str) -> Option<&Token<'a>> {
        let named = |name: &Token<'a>| {
            let (category, own) = name.bytes.split_at(category(name).map_or(0, <[u8]>::len));
            !category.is_empty() && own[1..].eq_ignore_ascii_case(field.as_bytes())
        };
        let column = self.names.iter().position(named)?;
        self.values.get(column)
    }

    fn has(&self, field: &str) -> bool {
        self.value(field).is_some()
    }

    /// A field's text; None if it is unknown (`?`), doesn't apply (`.`) or isn't there.
    fn text(&self, field: &str) -> Result<Option<&'a str>, Wrong> {
        let Some(value) = self.value(field) else {
            return Ok(None);
        };
        if value.kind == Kind::Bare && (value.bytes == b"." || value.bytes == b"?") {
            return Ok(None);
        }
        match std::str::from_utf8(value.bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(value.wrong("bytes that are not UTF-8")),
        }
    }

    fn needed<T>(&self, value: Option<T>, field: &str) -> Result<T, Wrong> {
        value.ok_or_else(|| {
            let place = self.value(field).unwrap_or(self.start);
            place.wrong(&format!("the row has no _atom_site.{field}"))
        })
    }

    fn number<T: FromStr + Into<f64> + Copy>(&self, field: &str) -> Result<Option<T>, Wrong> {
        let Some(text) = self.text(field)? else {
            return Ok(None);
        };
        match text.parse::<T>() {
            Ok(number) if number.into().is_finite() => Ok(Some(number)),
            _ => {
                let place = self.value(field).unwrap_or(self.start);
                Err(place.wrong(&format!("{text:?} where the number {field} belongs")))
            }
        }
    }

    fn coordinate(&self, field: &str) -> Result<f32, Wrong> {
        let value = self.number(field)?;
        self.needed(value, field)
    }
}
