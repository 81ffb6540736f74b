//! Columns of text, as Go's tabwriter aligns them.

/// Aligns rows of cells: every column but the last is padded to its widest cell and `padding` spaces, at least `minimum` wide.
/// `widths` are remembered from earlier rows of the same table (a watch), and only grow.
pub fn align(rows: &[Vec<String>], minimum: usize, padding: usize, widths: &mut Vec<usize>) -> String {
    for row in rows {
        for (i, cell) in row.iter().enumerate().take(row.len().saturating_sub(1)) {
            let width = (cell.chars().count() + padding).max(minimum);
            if i == widths.len() {
                widths.push(width);
            } else {
                widths[i] = widths[i].max(width);
            }
        }
    }
    let mut out = String::new();
    for row in rows {
        for (i, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if i + 1 < row.len() {
                let pad = widths[i].saturating_sub(cell.chars().count());
                out.extend(std::iter::repeat_n(' ', pad));
            }
        }
        out.push('\n');
    }
    out
}

/// Rows of a table as kubectl prints them.
pub fn table(rows: &[Vec<String>]) -> String {
    align(rows, 6, 3, &mut Vec::new())
}

/// Aligns text whose cells are separated by tabs, as `describe` does (padding 2, width 0, minimum 0): a column is a run of lines that
/// all have it, so each block is aligned on its own.
pub fn elastic(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len().saturating_sub(1)]).collect();
    block(&lines, &mut widths, 0, lines.len(), 0);
    let mut out = String::with_capacity(text.len() * 2);
    for (cells, widths) in lines.iter().zip(&widths) {
        let mut line = String::new();
        for (i, cell) in cells.iter().enumerate() {
            line.push_str(cell);
            if let Some(width) = widths.get(i) {
                let pad = width.saturating_sub(cell.chars().count());
                line.extend(std::iter::repeat_n(' ', pad));
            }
        }
        out.push_str(&line);
        out.push('\n');
    }
    out
}

fn block(lines: &[Vec<&str>], widths: &mut [Vec<usize>], start: usize, end: usize, column: usize) {
    let has = |line: usize| lines[line].len() > column + 1;
    let mut at = start;
    while at < end {
        if !has(at) {
            at += 1;
            continue;
        }
        let stop = (at..end).find(|l| !has(*l)).unwrap_or(end);
        let widest = (at..stop).map(|l| lines[l][column].chars().count()).max().unwrap_or(0);
        let width = widest + 2;
        for line in &mut widths[at..stop] {
            line[column] = width;
        }
        block(lines, widths, at, stop, column + 1);
        at = stop;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_blocks_align() {
        let row = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            table(&[row(&["NAME", "AGE"]), row(&["a", "5m"]), row(&["longer", "1d"])]),
            "NAME     AGE\na        5m\nlonger   1d\n"
        );
        assert_eq!(table(&[row(&["A", "B", "C"]), row(&["x", "", "z"])]), "A     B     C\nx           z\n");
        let mut widths = Vec::new();
        align(&[row(&["long-name", "x"])], 6, 3, &mut widths);
        assert_eq!(align(&[row(&["a", "y"])], 6, 3, &mut widths), "a           y\n");
        assert_eq!(
            elastic("Name:\tx\nNamespace:\tdefault\nAnnotations:\nA:\tb\n"),
            "Name:       x\nNamespace:  default\nAnnotations:\nA:  b\n"
        );
    }
}
