//! Charts of the works over the number of connections or the length of the log, as SVG.

use std::{collections::BTreeSet, error::Error, fs, path::Path};

use anyhow::{Context as _, anyhow};
use plotters::{
    coord::{Shift, combinators::LogCoord, types::RangedCoordi32},
    prelude::*,
};

use super::{
    growth::Cost,
    point::{Point, Subject},
};

const SIZE: (u32, u32) = (860, 480);
/// The axis of the works that are requests.
const CONNECTIONS: &str = "connections";
const FONT: (&str, i32) = ("sans-serif", 14);
const TITLE_FONT: (&str, i32) = ("sans-serif", 18);

/// Colours that differ for colour-blind readers, too.
const COLORS: [RGBColor; 9] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
    RGBColor(240, 228, 66),
    RGBColor(128, 128, 128),
];

/// A line: its name, and pairs of a place on the axis and a value.
type Line = (String, Vec<(usize, f64)>);

/// Places on the axis by their index, and values over a logarithmic axis: works differ by orders of
/// magnitude.
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordi32, LogCoord<f64>>>;

/// Draws `rate.svg` and `p99.svg` in a folder, which is created if it is missing.
///
/// # Errors
/// If a file cannot be written.
pub(super) fn draw(points: &[Point], folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    let rates = lines(points, |point| Some(point.closed.rate));
    let latencies = lines(points, |point| point.open.as_ref()?.p99_ms);
    let title = "Highest rate, requests per second";
    chart(&folder.join("rate.svg"), title, CONNECTIONS, &rates)?;
    let title = "99th percentile of the latency at 70 % of that rate, milliseconds";
    chart(&folder.join("p99.svg"), title, CONNECTIONS, &latencies)
}

/// Draws `growth.svg` in a folder, if something was measured with a growing log.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn draw_growth(costs: &[Cost], folder: &Path) -> anyhow::Result<()> {
    if costs.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    let mut lines = Vec::new();
    for cost in costs {
        let name = match cost.history {
            Some(commits) => format!("{}, {commits} commits", cost.operation),
            None => cost.operation.to_owned(),
        };
        add(&mut lines, &name, cost.events, cost.p50_ms);
    }
    let title = "Median latency, milliseconds";
    chart(
        &folder.join("growth.svg"),
        title,
        "events in the log",
        &lines,
    )
}

/// Returns the lines of all works that have values.
fn lines(points: &[Point], value: impl Fn(&Point) -> Option<f64>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for point in points {
        if let Subject::Work(work) = point.subject {
            add(&mut lines, work.name(), point.concurrency, value(point));
        }
    }
    lines
}

/// Adds a value to the line with this name. A logarithm has no zero.
fn add(lines: &mut Vec<Line>, name: &str, at: usize, value: Option<f64>) {
    let Some(value) = value.filter(|value| *value > 0.0) else {
        return;
    };
    match lines.iter_mut().find(|line| line.0 == name) {
        Some((_, values)) => values.push((at, value)),
        None => lines.push((name.to_owned(), vec![(at, value)])),
    }
}

fn chart(file: &Path, title: &str, axis: &str, lines: &[Line]) -> anyhow::Result<()> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    // The errors of the library borrow from it.
    paint(&root, title, axis, lines).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    let saved = root.present();
    saved.map_err(|error| anyhow!("could not write {}: {error}", file.display()))
}

fn paint(
    root: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    place: &str,
    lines: &[Line],
) -> Result<(), Box<dyn Error>> {
    let values = || lines.iter().flat_map(|(_, values)| values);
    let places: BTreeSet<usize> = values().map(|(place, _)| *place).collect();
    let places: Vec<usize> = places.into_iter().collect();
    let Some((lowest, highest)) = decades(values().map(|(_, value)| *value)) else {
        return Ok(());
    };
    root.fill(&WHITE)?;
    let axis = 10_f64.powi(lowest)..10_f64.powi(highest);
    let mut chart = ChartBuilder::on(root)
        .caption(title, TITLE_FONT)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        // Measured places at equal distances, and room for the legend at the right.
        .build_cartesian_2d(-1..i32::try_from(places.len())? + 1, axis.log_scale())?;
    draw_axes(
        &mut chart,
        place,
        &places,
        usize::try_from(highest - lowest)?,
    )?;
    for ((name, values), color) in lines.iter().zip(COLORS) {
        draw_line(&mut chart, name, values, &places, color)?;
    }
    let labels = &mut chart.configure_series_labels();
    labels.position(SeriesLabelPosition::MiddleRight);
    labels.label_font(FONT).border_style(WHITE).draw()?;
    Ok(())
}

fn draw_axes(
    chart: &mut Chart<'_, '_>,
    place: &str,
    places: &[usize],
    decades: usize,
) -> Result<(), Box<dyn Error>> {
    let name = |position: &i32| {
        let index = usize::try_from(*position).ok();
        let place = index.and_then(|index| places.get(index));
        place.map_or_else(String::new, ToString::to_string)
    };
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().light_line_style(WHITE);
    mesh.x_labels(places.len() + 2);
    mesh.x_label_formatter(&name).x_desc(place);
    mesh.y_labels(decades + 1);
    mesh.y_label_formatter(&|value| plain(*value));
    mesh.label_style(FONT).draw()?;
    Ok(())
}

fn draw_line(
    chart: &mut Chart<'_, '_>,
    name: &str,
    values: &[(usize, f64)],
    places: &[usize],
    color: RGBColor,
) -> Result<(), Box<dyn Error>> {
    let point = |(place, value): &(usize, f64)| {
        let index = places.binary_search(place).ok()?;
        Some((i32::try_from(index).ok()?, *value))
    };
    let line = LineSeries::new(values.iter().filter_map(point), color.stroke_width(2));
    let sample = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2));
    let drawn = chart.draw_series(line.point_size(4))?;
    drawn.label(name).legend(sample);
    Ok(())
}

/// Returns the powers of ten around all values; `None` if there are none.
fn decades(values: impl Iterator<Item = f64> + Clone) -> Option<(i32, i32)> {
    let powers = values.map(f64::log10);
    let lowest = powers.clone().map(|power| power.floor() as i32).min()?;
    let highest = powers.map(|power| power.ceil() as i32).max()?;
    Some((lowest, highest.max(lowest + 1)))
}

/// Returns a number without needless zeros.
fn plain(value: f64) -> String {
    format!("{value:.3}")
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_whole_decades() {
        let around = |values: &[f64]| decades(values.iter().copied());
        assert_eq!(around(&[38.0, 1_683.0]), Some((1, 4)));
        assert_eq!(around(&[0.4]), Some((-1, 0)));
        assert_eq!(around(&[10.0]), Some((1, 2)));
        assert_eq!(around(&[]), None);
    }
}
