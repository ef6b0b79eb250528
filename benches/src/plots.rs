//! Plots in SVG: lines against a logarithmic count, and bars.

use std::path::Path;

use plotters::prelude::*;

/// A line: its name, whether it was measured elsewhere, and its points.
pub struct Line {
    /// In the legend.
    pub name: String,
    /// Drawn in dashes.
    pub is_elsewhere: bool,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// What an axis runs through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Each step the same multiple.
    Logarithmic,
    /// Each step as long.
    Linear,
}

const SIZE: (u32, u32) = (760, 420);
const FONT: &str = "sans-serif";
/// Told apart by who does not tell red from green (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
];

/// Draws lines, with their legend.
///
/// # Errors
/// Where the file cannot be written.
pub fn lines(
    file: &Path,
    title: &str,
    (x, y): (&str, &str),
    scale: Scale,
    lines: &[Line],
) -> anyhow::Result<()> {
    let all = || lines.iter().flat_map(|line| line.points.iter());
    let (left, right) =
        all().fold((f64::MAX, f64::MIN), |(least, most), (x, _)| (least.min(*x), most.max(*x)));
    let top = all().fold(1.0, |most: f64, (_, y)| most.max(*y)) * 1.08;
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut builder = ChartBuilder::on(&area);
    builder.caption(title, (FONT, 18)).margin(12).x_label_area_size(44).y_label_area_size(64);
    // Where no line is: all of them rise, the steeper the more there are.
    let legend = match scale {
        Scale::Logarithmic => SeriesLabelPosition::UpperLeft,
        Scale::Linear => SeriesLabelPosition::LowerRight,
    };
    // The two scales are two types, and so are all that is made of them.
    macro_rules! draw {
        ($range:expr) => {{
            let mut chart = builder.build_cartesian_2d($range, 0.0..top)?;
            let mut mesh = chart.configure_mesh();
            mesh.x_desc(x).y_desc(y).label_style((FONT, 13)).light_line_style(TRANSPARENT);
            mesh.x_label_formatter(&|x| count(*x)).y_label_formatter(&|y| format!("{y:.0}")).draw()?;
            for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
                let style = colour.stroke_width(2);
                let points = line.points.iter().copied();
                if line.is_elsewhere {
                    chart.draw_series(DashedLineSeries::new(points, 6, 4, style))?
                } else {
                    chart.draw_series(LineSeries::new(points, style))?
                }
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
                chart.draw_series(line.points.iter().map(|at| Circle::new(*at, 3, colour.filled())))?;
            }
            chart
                .configure_series_labels()
                .position(legend.clone())
                .background_style(WHITE.mix(0.85))
                .label_font((FONT, 13))
                .draw()?;
        }};
    }
    match scale {
        Scale::Logarithmic => draw!((left..right).log_scale()),
        Scale::Linear => draw!(left..right),
    }
    area.present()?;
    Ok(())
}

/// Draws a bar for each name, the first on top.
///
/// # Errors
/// Where the file cannot be written.
pub fn bars(file: &Path, title: &str, unit: &str, bars: &[(String, f64)]) -> anyhow::Result<()> {
    let most = bars.iter().fold(0.0, |most: f64, (_, value)| most.max(*value)).max(f64::MIN_POSITIVE) * 1.15;
    let height = 96 + 30 * bars.len() as u32;
    let area = SVGBackend::new(file, (SIZE.0, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(280)
        .build_cartesian_2d(0.0..most, 0.0..bars.len() as f64)?;
    chart.configure_mesh().disable_mesh().x_desc(unit).y_labels(0).label_style((FONT, 13)).draw()?;
    let below = |index: usize| (bars.len() - 1 - index) as f64;
    chart.draw_series(bars.iter().enumerate().map(|(index, (_, value))| {
        Rectangle::new([(0.0, below(index) + 0.2), (*value, below(index) + 0.8)], COLOURS[0].filled())
    }))?;
    let shown = |value: f64| crate::results::shown(value);
    chart.draw_series(bars.iter().enumerate().map(|(index, (_, value))| {
        Text::new(shown(*value), (*value + most / 100.0, below(index) + 0.65), (FONT, 13))
    }))?;
    let (plot, _) = (chart.plotting_area().get_pixel_range(), ());
    for (index, (name, _)) in bars.iter().enumerate() {
        let step = f64::from(plot.1.end - plot.1.start) / bars.len() as f64;
        let y = plot.1.start + (step * (index as f64 + 0.35)) as i32;
        area.draw(&Text::new(name.as_str(), (12, y), (FONT, 13)))?;
    }
    area.present()?;
    Ok(())
}

/// A count in the shortest words.
fn count(x: f64) -> String {
    match x {
        millions if millions >= 1e6 => format!("{} M", millions / 1e6),
        thousands if thousands >= 1e3 => format!("{} k", thousands / 1e3),
        few => format!("{few}"),
    }
}
