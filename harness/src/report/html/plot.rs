//! Plots as inline SVG, drawn with the page's own colours.

use maud::{Markup, html};

/// Width of a plot in its own units.
const WIDTH: f64 = 900.0;
/// Height of a plot over time.
const HEIGHT: f64 = 200.0;
/// Room for labels left and below.
const LEFT: f64 = 70.0;
const BELOW: f64 = 24.0;

/// One colour of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// Its name.
    pub name: &'static str,
    /// Number of its colour, 1 to 6.
    pub colour: u8,
    /// Its amounts, by step; all series of a plot have as many.
    pub amounts: Vec<u64>,
}

/// Amounts over time, stacked. A step is `step_ns` nanoseconds.
pub fn stacked(series: &[Series], step_ns: u64) -> Markup {
    let steps = series.iter().map(|s| s.amounts.len()).max().unwrap_or(0);
    let sum = |step: usize| {
        series
            .iter()
            .filter_map(|s| s.amounts.get(step))
            .sum::<u64>()
    };
    let most = (0..steps).map(sum).max().unwrap_or(0).max(1);
    let wide = (WIDTH - LEFT) / steps.max(1) as f64;
    let high = HEIGHT - BELOW - 8.0;
    let x = |step: usize| LEFT + step as f64 * wide;
    let y = |amount: u64| 8.0 + high - amount as f64 / most as f64 * high;
    let gap = if wide > 4.0 { 1.0 } else { 0.0 };
    let length = duration(step_ns.saturating_mul(steps as u64));
    html! {
        ul.legend {
            @for s in series {
                li {
                    svg viewBox="0 0 10 10" { rect class=(colour(s.colour)) width="10" height="10" {} }
                    (s.name)
                }
            }
        }
        svg.plot viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="packets over time" {
            @for step in 0..steps {
                @for (s, base) in stack(series, step) {
                    @let amount = s.amounts[step];
                    rect class=(colour(s.colour)) x=(number(x(step))) y=(number(y(base + amount)))
                        width=(number(wide - gap)) height=(number(y(base) - y(base + amount))) {
                        title { (s.name) ": " (amount) " from " (duration(step_ns * step as u64)) }
                    }
                }
            }
            path.axis d=(format!("M{LEFT} 8V{0}H{WIDTH}", HEIGHT - BELOW)) {}
            @for amount in ticks(most) {
                text.soft x=(LEFT - 6.0) y=(number(y(amount) + 4.0)) text-anchor="end" { (grouped(amount)) }
            }
            text.soft x=(LEFT) y=(HEIGHT - 6.0) { "0" }
            text.soft x=(WIDTH) y=(HEIGHT - 6.0) text-anchor="end" { (length) }
        }
        p.dim { "packets in each " (duration(step_ns)) ", by arrival" }
    }
}

/// The series that have something in a step, each with what lies below it.
fn stack(series: &[Series], step: usize) -> impl Iterator<Item = (&Series, u64)> {
    let mut base = 0;
    series.iter().filter_map(move |s| {
        let amount = *s.amounts.get(step)?;
        let below = base;
        base += amount;
        (amount > 0).then_some((s, below))
    })
}

/// A horizontal bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar<'a> {
    /// What it shows.
    pub label: &'a str,
    /// Number of its colour, 1 to 6.
    pub colour: u8,
    /// How long it is.
    pub value: f64,
}

/// Bars beside one another, with their numbers.
pub fn bars(bars: &[Bar<'_>], unit: &str) -> Markup {
    let most = bars.iter().map(|b| b.value).fold(0.0, f64::max);
    let left = 190.0;
    let room = WIDTH - left - 130.0;
    let height = 28.0 * bars.len() as f64;
    html! {
        svg.plot viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label="rates" {
            @for (i, bar) in bars.iter().enumerate() {
                @let top = 28.0 * i as f64;
                @let long = if most > 0.0 { bar.value / most * room } else { 0.0 };
                text x=(left - 8.0) y=(top + 18.0) text-anchor="end" { (bar.label) }
                rect class=(colour(bar.colour)) x=(left) y=(top + 5.0) width=(number(long.max(1.0))) height="18" {}
                text x=(number(left + long + 8.0)) y=(top + 18.0) { (format!("{:.2} {unit}", bar.value)) }
            }
        }
    }
}

fn colour(number: u8) -> String {
    format!("c{}", number.clamp(1, 6))
}

/// A coordinate, short.
fn number(n: f64) -> String {
    let text = format!("{n:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Amounts to mark: nothing, half, and the most.
fn ticks(most: u64) -> Vec<u64> {
    let mut ticks = vec![0, most / 2, most];
    ticks.dedup();
    ticks
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds in the largest unit of which there is one.
pub fn duration(ns: u64) -> String {
    let (unit, divisor) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => ("µs", 1e3),
        1_000_000..1_000_000_000 => ("ms", 1e6),
        _ => ("s", 1e9),
    };
    format!("{} {unit}", number(ns as f64 / divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(1), "1");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(1_500_000), "1.5 ms");
        assert_eq!(duration(64_000_000_000), "64 s");
    }

    #[test]
    fn stacks_lie_on_one_another() {
        let series = |name, amounts| Series {
            name,
            colour: 1,
            amounts,
        };
        let all = [series("a", vec![2, 0]), series("b", vec![3, 1])];
        let bases: Vec<_> = stack(&all, 0).map(|(s, base)| (s.name, base)).collect();
        assert_eq!(bases, [("a", 0), ("b", 2)]);
        let bases: Vec<_> = stack(&all, 1).map(|(s, base)| (s.name, base)).collect();
        assert_eq!(bases, [("b", 0)]);
    }
}
