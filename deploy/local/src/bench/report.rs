//! The measured points, as tables for people and as JSON lines for programs.

use std::io::Write as _;

use super::point::{Open, Point, Subject};

/// Stands between groups of columns.
pub(super) const BAR: &str = "|";

/// Shows progress. A closed terminal is no reason to stop.
pub(super) fn say(text: &str) {
    _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints a result.
///
/// # Errors
/// If standard output is closed.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Returns a point as one line of JSON.
///
/// # Errors
/// If a number is not finite.
pub(super) fn json(point: &Point) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string(point)?))
}

/// Returns all points as tables.
pub(super) fn tables(points: &[Point]) -> String {
    let (works, limits): (Vec<&Point>, Vec<&Point>) = points
        .iter()
        .partition(|point| matches!(point.subject, Subject::Work(_)));
    let tables = [
        (
            "Rates and latencies: as fast as answers come | at a steady 70 % of that rate",
            rates(&works),
        ),
        ("CPU time and memory at the highest rate", usage(&works)),
        (
            "Limits: the same servers without the backend",
            bare(&limits),
        ),
    ];
    let with_rows = tables.into_iter().filter(|(_, rows)| rows.len() > 1);
    let text = |(title, rows): (&str, Vec<Vec<String>>)| format!("\n{title}\n\n{}", aligned(&rows));
    with_rows.map(text).collect()
}

fn rates(points: &[&Point]) -> Vec<Vec<String>> {
    let titles = [
        "work",
        "connections",
        "highest/s",
        "p50 ms",
        "of limit",
        BAR,
        "steady/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "max ms",
        "wrong",
    ];
    let row = |point: &&Point| {
        let open = |value: fn(&Open) -> Option<f64>| point.open.as_ref().and_then(value);
        let mut row = beginning(point);
        row.extend([
            milliseconds(point.closed.p50_ms),
            share(point.of_limit),
            BAR.to_owned(),
            per_second(open(|open| Some(open.rate))),
            milliseconds(open(|open| open.p50_ms)),
            milliseconds(open(|open| open.p95_ms)),
            milliseconds(open(|open| open.p99_ms)),
            milliseconds(open(|open| open.max_ms)),
            point.wrong.to_string(),
        ]);
        row
    };
    with_titles(&titles, points.iter().map(row))
}

fn usage(points: &[&Point]) -> Vec<Vec<String>> {
    let titles = [
        "work",
        "connections",
        "CPU µs/request: backend",
        "nats",
        "mongod",
        "load",
        BAR,
        "MiB: backend",
        "nats",
        "mongod",
        "load",
    ];
    let row = |point: &&Point| {
        let whole = |value: Option<f64>| number(value, 0);
        let mut row = vec![
            point.subject.name().to_owned(),
            point.concurrency.to_string(),
        ];
        row.extend(point.closed.cpu_us_per_request.columns().map(whole));
        row.push(BAR.to_owned());
        row.extend(point.closed.memory_mib.columns().map(whole));
        row
    };
    with_titles(&titles, points.iter().map(row))
}

fn bare(points: &[&Point]) -> Vec<Vec<String>> {
    let titles = ["limit", "in flight", "highest/s", "p50 ms", "wrong"];
    let row = |point: &&Point| {
        let mut row = beginning(point);
        row.extend([milliseconds(point.closed.p50_ms), point.wrong.to_string()]);
        row
    };
    with_titles(&titles, points.iter().map(row))
}

fn beginning(point: &Point) -> Vec<String> {
    let rate = per_second(Some(point.closed.rate));
    vec![
        point.subject.name().to_owned(),
        point.concurrency.to_string(),
        rate,
    ]
}

fn with_titles(titles: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    let titles = titles.iter().map(|title| (*title).to_owned()).collect();
    std::iter::once(titles).chain(rows).collect()
}

/// Returns a rate with at least three digits.
pub(super) fn per_second(rate: Option<f64>) -> String {
    number(
        rate,
        if rate.is_some_and(|rate| rate < 100.0) {
            1
        } else {
            0
        },
    )
}

/// Returns milliseconds with three digits.
pub(super) fn milliseconds(value: Option<f64>) -> String {
    number(
        value,
        if value.is_some_and(|value| value < 10.0) {
            2
        } else {
            1
        },
    )
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{:.0} %", value * 100.0))
}

/// Returns a number with this many decimals; a dash if it is not known.
pub(super) fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.decimals$}"))
}

/// Aligns rows: the first column to the left, the others to the right.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let widths = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = widths(column);
            if column == 0 {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        let cells: Vec<String> = cells.collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["work", "rate"], ["read", "12345"], ["login", "9"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows), "work    rate\nread   12345\nlogin      9\n");
    }

    #[test]
    fn numbers_have_about_three_digits() {
        assert_eq!(per_second(Some(9.26)), "9.3");
        assert_eq!(per_second(Some(12_345.6)), "12346");
        assert_eq!(milliseconds(Some(1.234)), "1.23");
        assert_eq!(milliseconds(Some(56.78)), "56.8");
        assert_eq!(
            (milliseconds(None), share(Some(0.416))),
            ("–".to_owned(), "42 %".to_owned())
        );
    }
}
