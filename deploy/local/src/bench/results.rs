//! The results of scenarios: one line of progress or JSON for each, and tables at the end.

use serde::Serialize;

use super::{
    chosen::Scenario,
    report::{self, aligned, say},
};

/// One result, as a row of a table.
pub(super) trait Row: Serialize {
    const SCENARIO: Scenario;
    const TITLE: &'static str;
    const COLUMNS: &'static [&'static str];

    /// Returns the cells in the order of the columns.
    fn cells(&self) -> Vec<String>;
}

/// All results until now.
pub(super) struct Results {
    json: bool,
    tables: Vec<Table>,
}

struct Table {
    title: &'static str,
    /// The first row has the names of the columns.
    rows: Vec<Vec<String>>,
}

/// A row as a line of JSON.
#[derive(Serialize)]
struct Line<'a, R> {
    work: Scenario,
    #[serde(flatten)]
    row: &'a R,
}

impl Results {
    /// Makes an empty list. With `json`, each result is printed as soon as it is known.
    pub(super) fn new(json: bool) -> Self {
        let tables = Vec::new();
        Self { json, tables }
    }

    /// Adds a result and shows it.
    ///
    /// # Errors
    /// If it cannot be printed.
    pub(super) fn add<R: Row>(&mut self, row: &R) -> anyhow::Result<()> {
        let cells = row.cells();
        let pairs = R::COLUMNS.iter().zip(&cells);
        let known = pairs.filter(|(name, _)| **name != report::BAR);
        let shown: Vec<String> = known.map(|(name, cell)| format!("{name} {cell}")).collect();
        say(&format!("{}: {}", R::SCENARIO.name(), shown.join(", ")));
        if self.json {
            let work = R::SCENARIO;
            let line = serde_json::to_string(&Line { work, row })?;
            report::print(&format!("{line}\n"))?;
        }
        self.table::<R>().rows.push(cells);
        Ok(())
    }

    /// Returns all tables as text.
    pub(super) fn text(&self) -> String {
        let texts = self.tables.iter();
        let texts = texts.map(|table| format!("\n{}\n\n{}", table.title, aligned(&table.rows)));
        texts.collect()
    }

    fn table<R: Row>(&mut self) -> &mut Table {
        let found = self.tables.iter().position(|table| table.title == R::TITLE);
        let index = found.unwrap_or(self.tables.len());
        if found.is_none() {
            let columns = R::COLUMNS.iter().map(|name| (*name).to_owned());
            self.tables.push(Table {
                title: R::TITLE,
                rows: vec![columns.collect()],
            });
        }
        &mut self.tables[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Started {
        events: usize,
    }

    impl Row for Started {
        const SCENARIO: Scenario = Scenario::Start;
        const TITLE: &'static str = "Start";
        const COLUMNS: &'static [&'static str] = &["events"];

        fn cells(&self) -> Vec<String> {
            vec![self.events.to_string()]
        }
    }

    #[test]
    fn rows_of_one_kind_share_a_table() {
        let mut results = Results::new(false);
        for events in [1, 20] {
            results.add(&Started { events }).unwrap();
        }
        assert_eq!(results.text(), "\nStart\n\nevents\n1\n20\n");
    }

    #[test]
    fn a_line_of_json_names_the_work() {
        let (work, row) = (Scenario::Start, &Started { events: 7 });
        let line = serde_json::to_string(&Line { work, row }).unwrap();
        assert_eq!(line, r#"{"work":"start","events":7}"#);
    }
}
