//! The chart of the benchmarks' ratios: a bar each, from its aim to the right if it is better, to the left if it misses.

use std::fmt::Write;

use crate::bench::Ratio;

const ROW: f64 = 20.0;
const TOP: f64 = 48.0;
/// Where names end and bars may begin.
const LEFT: f64 = 560.0;
/// How wide a factor of two is.
const DOUBLING: f64 = 40.0;
/// Bars end here, in doublings from the aim, however far they would go.
const REACH: f64 = 3.0;
const WIDTH: f64 = 1_020.0;

const MET: &str = "#2a7f62";
const MISSED: &str = "#b5443a";

/// Draws them, in the order given, on a background of its own so that it reads on any page.
pub(crate) fn draw(ratios: &[Ratio]) -> String {
    let height = TOP + ROW * count(ratios) + 12.0;
    let aim = LEFT + REACH * DOUBLING;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Ratios of the benchmarks beside their aims</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"{aim}\" y=\"20\" text-anchor=\"middle\" fill=\"#333333\">misses its aim &#8592; aim &#8594; better than its aim</text>\n"
    );
    for doublings in -3..=3 {
        let x = aim + f64::from(doublings) * DOUBLING;
        let factor = 2_f64.powi(doublings);
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"{y}\" x2=\"{x}\" y2=\"{height}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{x}\" y=\"38\" text-anchor=\"middle\" fill=\"#777777\">&#215;{factor}</text>",
            y = TOP - 6.0,
        );
    }
    for (row, ratio) in ratios.iter().enumerate() {
        bar(
            &mut svg,
            TOP + ROW * f64::from(u32::try_from(row).unwrap_or(u32::MAX)),
            aim,
            ratio,
        );
    }
    svg + "</svg>\n"
}

fn bar(svg: &mut String, top: f64, aim: f64, ratio: &Ratio) {
    let doublings = ratio.times_better().log2().clamp(-REACH, REACH);
    let width = (doublings * DOUBLING).abs().max(1.0);
    let x = if doublings < 0.0 { aim - width } else { aim };
    let color = if doublings < 0.0 { MISSED } else { MET };
    let _ = writeln!(
        svg,
        "<text x=\"{name}\" y=\"{base}\" text-anchor=\"end\" fill=\"#333333\">{label}</text>\n\
         <rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"12\" fill=\"{color}\"/>\n\
         <text x=\"{end}\" y=\"{base}\" fill=\"#333333\">{value}</text>",
        name = LEFT - 12.0,
        base = top + 14.0,
        label = escaped(&ratio.name()),
        y = top + 4.0,
        end = LEFT + 2.0 * REACH * DOUBLING + 12.0,
        value = escaped(&ratio.aim()),
    );
}

fn count(ratios: &[Ratio]) -> f64 {
    f64::from(u32::try_from(ratios.len()).unwrap_or(u32::MAX))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tests::ratios;

    #[test]
    fn what_misses_its_aim_goes_to_the_left_of_it() {
        let svg = draw(&ratios());
        let aim = LEFT + REACH * DOUBLING;
        let bars: Vec<(f64, &str)> = svg
            .lines()
            .filter(|line| line.contains("height=\"12\""))
            .map(|line| {
                let number = line.split('"').nth(1).unwrap().parse().unwrap();
                (number, if line.contains(MET) { "met" } else { "missed" })
            })
            .collect();
        assert_eq!(bars.len(), 2);
        assert!(bars[0].0 < aim && bars[0].1 == "missed");
        assert!(bars[1].0 == aim && bars[1].1 == "met");
    }

    #[test]
    fn names_are_text_and_no_markup() {
        assert_eq!(escaped("a < b & c"), "a &lt; b &amp; c");
    }
}
