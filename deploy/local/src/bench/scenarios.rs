//! Runs the chosen scenarios, one after the other.

use super::{
    Options, charts,
    chosen::Scenario,
    feed, growth, payments, rebuild,
    report::{print, say},
    results::Results,
    start, webhooks,
};

/// Measures the chosen scenarios, and prints what was measured.
///
/// # Errors
/// If a backend fails or an answer is wrong.
pub(super) async fn measure(options: &Options) -> anyhow::Result<()> {
    let mut results = Results::new(options.json);
    let mut costs = Vec::new();
    for scenario in options.scenarios() {
        say(&format!("{} …", scenario.name()));
        match scenario {
            Scenario::Feed => feed::measure(options, &mut results).await?,
            Scenario::Rebuild => rebuild::measure(options, &mut results).await?,
            Scenario::Start => start::measure(options, &mut results).await?,
            Scenario::Growth => costs = growth::measure(options, &mut results).await?,
            Scenario::Webhooks => webhooks::measure(options, &mut results).await?,
            Scenario::Payments => payments::measure(options, &mut results).await?,
        }
    }
    if !options.json {
        print(&results.text())?;
    }
    match &options.charts {
        Some(folder) => charts::draw_growth(&costs, folder),
        None => Ok(()),
    }
}
