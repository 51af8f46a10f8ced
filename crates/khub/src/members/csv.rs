//! CSV as RFC 4180 has it, and as spreadsheets write it: with a byte order mark, or CR LF, or neither.

/// Rows with the line each begins in, empty lines left out.
pub(crate) fn rows(text: &[u8]) -> Result<Vec<(usize, Vec<String>)>, String> {
    let text = std::str::from_utf8(text).map_err(|e| {
        let line = text[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        format!("line {line}: it is not UTF-8; save it as CSV UTF-8")
    })?;
    let mut rows = Vec::new();
    let mut row = Row::default();
    let (mut line, mut begun) = (1, 1);
    let mut quoted = false;
    let mut chars = text.strip_prefix('\u{feff}').unwrap_or(text).chars().peekable();
    while let Some(c) = chars.next() {
        line += usize::from(c == '\n');
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                row.cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if row.cell.is_empty() && !row.was_quoted => {
                quoted = true;
                row.was_quoted = true;
            }
            ',' if !quoted => row.end_cell(),
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                rows.extend(row.end().map(|cells| (begun, cells)));
                begun = line;
            }
            c => row.cell.push(c),
        }
    }
    if quoted {
        return Err(format!("line {begun}: a quote isn't closed"));
    }
    rows.extend(row.end().map(|cells| (begun, cells)));
    Ok(rows)
}

#[derive(Default)]
struct Row {
    cells: Vec<String>,
    cell: String,
    was_quoted: bool,
}

impl Row {
    fn end_cell(&mut self) {
        self.cells.push(std::mem::take(&mut self.cell));
        self.was_quoted = false;
    }

    /// The row's cells; none if the line is empty.
    fn end(&mut self) -> Option<Vec<String>> {
        let empty = self.cells.is_empty() && self.cell.is_empty() && !self.was_quoted;
        self.end_cell();
        let cells = std::mem::take(&mut self.cells);
        (!empty).then_some(cells)
    }
}

/// A cell, in quotes if it needs them.
pub(crate) fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
