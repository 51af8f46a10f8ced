//! Rows of text as aligned columns.

use unicode_width::UnicodeWidthStr as _;

/// The first column stands to the left, the others to the right. Every row is as long as the first.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let space = " ".repeat(widths[column] - cell.width());
            match column {
                0 => line.extend([cell.as_str(), &space]),
                _ => line.extend(["  ", &space, cell.as_str()]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_align() {
        let rows = [["", "ms"], ["khub", "7"], ["eager", "1234"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(table(&rows), "         ms\nkhub      7\neager  1234\n");
    }
}
