//! Charts of the works over the number of connections, as SVG.

use std::{collections::BTreeSet, error::Error, fs, path::Path};

use anyhow::{Context as _, anyhow};
use plotters::{
    coord::{Shift, combinators::LogCoord, types::RangedCoordi32},
    prelude::*,
};

use super::point::{Point, Subject};

const SIZE: (u32, u32) = (860, 480);
const FONT: (&str, i32) = ("sans-serif", 14);
const TITLE_FONT: (&str, i32) = ("sans-serif", 18);

/// Colours that differ for colour-blind readers, too.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

/// A line: its name, and pairs of connections and value.
type Line = (&'static str, Vec<(usize, f64)>);

/// Concurrencies by their index, and values over a logarithmic axis: works differ by orders of
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
    chart(
        &folder.join("rate.svg"),
        "Highest rate, requests per second",
        &rates,
    )?;
    let title = "99th percentile of the latency at 70 % of that rate, milliseconds";
    chart(&folder.join("p99.svg"), title, &latencies)
}

/// Returns the lines of all works that have values.
fn lines(points: &[Point], value: impl Fn(&Point) -> Option<f64>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for point in points {
        let (Subject::Work(work), Some(value)) = (point.subject, value(point)) else {
            continue;
        };
        // A logarithm has no zero.
        if value <= 0.0 {
            continue;
        }
        match lines.iter_mut().find(|(name, _)| *name == work.name()) {
            Some((_, values)) => values.push((point.concurrency, value)),
            None => lines.push((work.name(), vec![(point.concurrency, value)])),
        }
    }
    lines
}

fn chart(file: &Path, title: &str, lines: &[Line]) -> anyhow::Result<()> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    // The errors of the library borrow from it.
    paint(&root, title, lines).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    let saved = root.present();
    saved.map_err(|error| anyhow!("could not write {}: {error}", file.display()))
}

fn paint(
    root: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    lines: &[Line],
) -> Result<(), Box<dyn Error>> {
    let values = || lines.iter().flat_map(|(_, values)| values);
    let concurrencies: BTreeSet<usize> = values().map(|(connections, _)| *connections).collect();
    let concurrencies: Vec<usize> = concurrencies.into_iter().collect();
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
        // Measured concurrencies at equal distances, and room for the legend at the right.
        .build_cartesian_2d(
            -1..i32::try_from(concurrencies.len())? + 1,
            axis.log_scale(),
        )?;
    draw_axes(
        &mut chart,
        &concurrencies,
        usize::try_from(highest - lowest)?,
    )?;
    for ((name, values), color) in lines.iter().zip(COLORS) {
        draw_line(&mut chart, name, values, &concurrencies, color)?;
    }
    let labels = &mut chart.configure_series_labels();
    labels.position(SeriesLabelPosition::MiddleRight);
    labels.label_font(FONT).border_style(WHITE).draw()?;
    Ok(())
}

fn draw_axes(
    chart: &mut Chart<'_, '_>,
    concurrencies: &[usize],
    decades: usize,
) -> Result<(), Box<dyn Error>> {
    let name = |position: &i32| {
        let index = usize::try_from(*position).ok();
        let connections = index.and_then(|index| concurrencies.get(index));
        connections.map_or_else(String::new, ToString::to_string)
    };
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().light_line_style(WHITE);
    mesh.x_labels(concurrencies.len() + 2);
    mesh.x_label_formatter(&name).x_desc("connections");
    mesh.y_labels(decades + 1);
    mesh.y_label_formatter(&|value| plain(*value));
    mesh.label_style(FONT).draw()?;
    Ok(())
}

fn draw_line(
    chart: &mut Chart<'_, '_>,
    name: &str,
    values: &[(usize, f64)],
    concurrencies: &[usize],
    color: RGBColor,
) -> Result<(), Box<dyn Error>> {
    let point = |(connections, value): &(usize, f64)| {
        let index = concurrencies.binary_search(connections).ok()?;
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
