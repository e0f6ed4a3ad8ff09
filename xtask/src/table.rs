//! Renders rows of text as a table for the terminal, without wrapping or color.

/// The table, with columns padded to their widest cell and a line below the head.
pub(crate) fn render<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(width);
    for row in rows {
        for (width_so_far, cell) in widths.iter_mut().zip(row) {
            *width_so_far = width(cell).max(*width_so_far);
        }
    }
    let mut table = line(&head, widths);
    table.push_str(&line(&widths.map(|width| "-".repeat(width)), widths));
    for row in rows {
        table.push_str(&line(row, widths));
    }
    table
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

fn line<const N: usize>(cells: &[impl AsRef<str>; N], widths: [usize; N]) -> String {
    let padded: Vec<String> = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{:width$}", cell.as_ref()))
        .collect();
    format!("{}\n", padded.join("  ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["5.10".to_owned(), "ok".to_owned()],
            ["6.1".to_owned(), "failed: größer".to_owned()],
        ];
        assert_eq!(
            render(["kernel", "outcome"], &rows),
            "kernel  outcome\n------  --------------\n5.10    ok\n6.1     failed: größer\n"
        );
    }

    #[test]
    fn table_without_rows_has_the_head() {
        assert_eq!(render(["a"], &[]), "a\n-\n");
    }
}
