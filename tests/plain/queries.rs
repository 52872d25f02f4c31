//! Queries over the metrics of [`super::data`].

use super::choices::Choices;

const COMPARISONS: [&str; 6] = ["==", "!=", "<", ">", "<=", ">="];
const ARITHMETIC: [&str; 7] = ["+", "-", "*", "/", "%", "^", "atan2"];
const DATES: [&str; 8] = [
    "hour",
    "minute",
    "month",
    "year",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
];

/// A query in three spellings.
pub(crate) struct Texts {
    /// As it is.
    pub(crate) written: String,
    /// With its durations worked out.
    pub(crate) worked_out: String,
    /// With a plus, which does nothing, before selectors and window functions inside of
    /// subqueries, so that they are evaluated by themselves. All else has the same place.
    pub(crate) apart: String,
}

/// A query. One over a range gives a vector or a scalar.
pub(crate) fn query(choices: &mut Choices<'_>, is_range: bool) -> Texts {
    let text = marked(choices, is_range);
    let written = resolved(&text, true);
    Texts {
        worked_out: resolved(&text, false).replace(INSIDE, " "),
        apart: written.replace(INSIDE, "+"),
        written: written.replace(INSIDE, " "),
    }
}

/// Where such an inside of a subquery begins.
const INSIDE: char = '§';

/// A duration in a marked text: how it is written, and what it comes to.
fn duration(written: &str, worked_out: &str) -> String {
    format!("«{written}|{worked_out}»")
}

/// The text with its durations as they are written, or worked out.
fn resolved(text: &str, as_written: bool) -> String {
    let mut out = String::new();
    for (index, part) in text.split(['«', '»']).enumerate() {
        match part.split_once('|') {
            Some((written, worked_out)) if index % 2 == 1 => {
                out.push_str(if as_written { written } else { worked_out });
            }
            _ => out.push_str(part),
        }
    }
    out
}

fn marked(choices: &mut Choices<'_>, is_range: bool) -> String {
    match choices.pick(12) {
        11 if !is_range => matrix(choices, 2),
        10 => scalar(choices, 2),
        9 => {
            let by = choices.one(&["sort", "sort_desc", "sort_by_label", "sort_by_label_desc"]);
            let more = if by.starts_with("sort_by") { ", \"i\"" } else { "" };
            format!("{by}({}{more})", vector(choices, 2))
        }
        _ => vector(choices, 3),
    }
}

fn selector(choices: &mut Choices<'_>) -> String {
    let name = choices.one(&["b", "a_total", "h", "m", "{__name__=~\"a_total|b\"}", "nothing"]);
    let matchers =
        choices.one(&["", "", "{job=\"x\"}", "{i=\"0\"}", "{i!=\"0\"}", "{job=~\"x|z\"}"]);
    if name.starts_with('{') { name.to_owned() } else { format!("{name}{matchers}") }
}

fn shift(choices: &mut Choices<'_>) -> String {
    match choices.pick(8) {
        6 if choices.pick(2) == 1 => {
            let computed = choices.one(&[
                ("(10s * 3)", "30s"),
                ("(1m / 2 + 5)", "35s"),
                ("-(2 ^ 4)", "-16s"),
                ("(max_of(20s, 7) % 15)", "5s"),
                ("min_of(step(), 20s)", ""),
            ]);
            let least_ms = choices.step_ms.min(20_000);
            let worked_out =
                if computed.1.is_empty() { format!("{least_ms}ms") } else { computed.1.to_owned() };
            format!(" offset {}", duration(computed.0, &worked_out))
        }
        7 => choices
            .one(&[
                " offset 30s",
                " offset -45s",
                " @ 60",
                " @ start()",
                " @ end()",
                " @ 100 offset 20s",
                " offset -7s @ end()",
                " @ 250.5",
            ])
            .to_owned(),
        _ => String::new(),
    }
}

/// The length of a window.
fn length(choices: &mut Choices<'_>) -> String {
    if choices.pick(6) < 5 {
        return choices.one(&["1m", "20s", "5m", "47s", "2m", "15s"]).to_owned();
    }
    let (written, worked_out) = choices.one(&[
        ("30s * 2", "1m"),
        ("2m - 1m30s", "30s"),
        ("min_of(5m, 90s)", "90s"),
        ("step() * 3 + 1", ""),
        ("7 ^ 2", "49s"),
    ]);
    let steps_ms = choices.step_ms * 3 + 1_000;
    let computed = format!("{steps_ms}ms");
    duration(written, if worked_out.is_empty() { &computed } else { worked_out })
}

fn scalar(choices: &mut Choices<'_>, depth: usize) -> String {
    let kinds = if depth == 0 { 3 } else { 9 };
    match choices.pick(kinds) {
        0 => choices.one(&["1", "2", "0.5", "0", "-1", "3.7", "NaN", "Inf", "-Inf"]).to_owned(),
        1 => "time()".to_owned(),
        2 => choices.one(&["pi()", "start()", "end()", "range()", "step()"]).to_owned(),
        6 => format!("scalar({})", vector(choices, depth - 1)),
        7 | 8 => {
            let name = choices.one(&["max_of", "min_of"]);
            format!("{name}({}, {})", scalar(choices, depth - 1), scalar(choices, depth - 1))
        }
        3 => {
            let op = choices.one(&ARITHMETIC);
            format!("({} {op} {})", scalar(choices, depth - 1), scalar(choices, depth - 1))
        }
        4 => {
            let op = choices.one(&COMPARISONS);
            format!("({} {op} bool {})", scalar(choices, depth - 1), scalar(choices, depth - 1))
        }
        _ => format!("-({})", scalar(choices, depth - 1)),
    }
}

fn matrix(choices: &mut Choices<'_>, depth: usize) -> String {
    let length = length(choices);
    if depth == 0 || choices.pick(3) < 2 {
        let selector = selector(choices);
        let extension = extension(choices);
        return format!("{selector}[{length}]{extension}{}", shift(choices));
    }
    let step = choices.one(&["", "15s", "7s", "1m"]);
    let inner = match choices.pick(3) {
        1 => {
            let selector = selector(choices);
            format!("{INSIDE}{selector}{}", shift(choices))
        }
        2 => format!("{INSIDE}{}", window(choices, 0)),
        _ => vector(choices, depth - 1),
    };
    format!("({inner})[{length}:{step}]{}", shift(choices))
}

fn extension(choices: &mut Choices<'_>) -> &'static str {
    match choices.pick(8) {
        7 => choices.one(&[" anchored", " smoothed"]),
        _ => "",
    }
}

fn vector(choices: &mut Choices<'_>, depth: usize) -> String {
    if depth == 0 {
        let selector = selector(choices);
        let smoothed = if choices.pick(16) == 15 { " smoothed" } else { "" };
        return format!("{selector}{smoothed}{}", shift(choices));
    }
    let below = depth - 1;
    match choices.pick(17) {
        14 => of_buckets(choices, below),
        15 => trimmed(choices, below),
        16 => with_info(choices),
        0 => {
            let selector = selector(choices);
            format!("{selector}{}", shift(choices))
        }
        1 | 2 => aggregation(choices, below),
        3 | 4 => window(choices, below),
        5 => join(choices, below),
        6 => set(choices, below),
        7 => with_scalar(choices, below),
        8 => map(choices, below),
        9 => format!("-{}", grouped(choices, below)),
        10 => relabelled(choices, below),
        11 => format!("vector({})", scalar(choices, below)),
        12 => {
            let name = choices.one(&["absent", "timestamp", "start_timestamp"]);
            format!("{name}({})", vector(choices, below))
        }
        _ => grouped(choices, below),
    }
}

fn of_buckets(choices: &mut Choices<'_>, depth: usize) -> String {
    let classic = "c_bucket";
    let of = match choices.pick(6) {
        0 => classic.to_owned(),
        1 => format!("rate({classic}[{}])", length(choices)),
        2 => format!("sum by (le, job) ({classic})"),
        3 => format!("({classic} or h)"),
        4 => selector(choices),
        _ => vector(choices, depth),
    };
    let q = |choices: &mut Choices<'_>| {
        choices.one(&["0.5", "0.1", "0.9", "0", "1", "-1", "2", "NaN", "0.37"]).to_owned()
    };
    match choices.pick(4) {
        0 => {
            let q = if choices.pick(4) == 3 { scalar(choices, 1) } else { q(choices) };
            format!("histogram_quantile({q}, {of})")
        }
        1 => {
            let label = choices.one(&["q", "i"]);
            format!("histogram_quantiles({of}, \"{label}\", {}, {})", q(choices), q(choices))
        }
        2 => format!("histogram_fraction({}, {}, {of})", scalar(choices, 0), scalar(choices, 0)),
        _ => {
            let name = choices.one(&["histogram_stddev", "histogram_stdvar"]);
            format!("{name}({of})")
        }
    }
}

fn trimmed(choices: &mut Choices<'_>, depth: usize) -> String {
    let op = choices.one(&["</", ">/"]);
    let at = choices.one(&["1", "1.5", "0", "-1", "3", "-0.0005", "100", "NaN", "Inf", "-Inf"]);
    let of = match choices.pick(3) {
        0 => "h".to_owned(),
        1 => "rate(h[2m])".to_owned(),
        _ => grouped(choices, depth),
    };
    match choices.pick(4) {
        3 => format!("{of} {op} on() group_left() {}", grouped(choices, depth)),
        _ => format!("{of} {op} {at}"),
    }
}

fn with_info(choices: &mut Choices<'_>) -> String {
    let of = choices.one(&["up", "up * 2", "rate(up[1m])", "{__name__=~\"up|target_info\"}", "b"]);
    let what = choices.one(&[
        "",
        ", {version=~\".+\"}",
        ", {__name__=\"build_info\"}",
        ", {__name__=~\".*_info\", zone=~\".*\"}",
        ", {__name__!=\"build_info\"}",
        ", {zone!=\"b\"}",
    ]);
    format!("info({of}{what})")
}

fn grouped(choices: &mut Choices<'_>, depth: usize) -> String {
    format!("({})", vector(choices, depth))
}

fn labels(choices: &mut Choices<'_>) -> &'static str {
    choices.one(&["(job)", "(i)", "()", "(job, i)", "(__name__)", "(i, __name__)"])
}

fn aggregation(choices: &mut Choices<'_>, depth: usize) -> String {
    let op = choices.one(&[
        "sum",
        "avg",
        "min",
        "max",
        "count",
        "group",
        "stddev",
        "stdvar",
        "topk",
        "bottomk",
        "limitk",
        "limit_ratio",
        "quantile",
        "count_values",
    ]);
    let parameter = match op {
        "topk" | "bottomk" | "limitk" => {
            let k = choices.one(&["1", "2", "0", "3", ""]);
            if k.is_empty() { scalar(choices, 1) + "," } else { format!("{k},") }
        }
        "limit_ratio" => {
            let ratio = choices.one(&["0.5", "-0.5", "1", "0", "0.1", "-2", ""]);
            if ratio.is_empty() { scalar(choices, 1) + "," } else { format!("{ratio},") }
        }
        "quantile" => scalar(choices, 1) + ",",
        "count_values" => choices.one(&["\"v\",", "\"job\","]).to_owned(),
        _ => String::new(),
    };
    let clause = match choices.pick(3) {
        0 => String::new(),
        1 => format!(" by {}", labels(choices)),
        _ => format!(" without {}", labels(choices)),
    };
    format!("{op}{clause} ({parameter}{})", vector(choices, depth))
}

fn window(choices: &mut Choices<'_>, depth: usize) -> String {
    let name = choices.one(&[
        "rate",
        "increase",
        "sum_over_time",
        "avg_over_time",
        "delta",
        "irate",
        "idelta",
        "resets",
        "changes",
        "count_over_time",
        "last_over_time",
        "first_over_time",
        "min_over_time",
        "max_over_time",
        "stddev_over_time",
        "stdvar_over_time",
        "present_over_time",
        "absent_over_time",
        "deriv",
        "mad_over_time",
        "ts_of_min_over_time",
        "ts_of_max_over_time",
        "ts_of_first_over_time",
        "ts_of_last_over_time",
        "predict_linear",
        "quantile_over_time",
        "double_exponential_smoothing",
    ]);
    let matrix = matrix(choices, depth);
    match name {
        "predict_linear" => format!("{name}({matrix}, {})", scalar(choices, 1)),
        "quantile_over_time" => format!("{name}({}, {matrix})", scalar(choices, 1)),
        "double_exponential_smoothing" => format!("{name}({matrix}, 0.3, 0.6)"),
        _ => format!("{name}({matrix})"),
    }
}

fn join(choices: &mut Choices<'_>, depth: usize) -> String {
    let is_comparison = choices.pick(3) == 2;
    let op = if is_comparison { choices.one(&COMPARISONS) } else { choices.one(&ARITHMETIC) };
    let bool = if is_comparison && choices.pick(2) == 1 { " bool" } else { "" };
    let clause = choices.one(&[
        "",
        " on(job, i)",
        " ignoring(i)",
        " on(job)",
        " on()",
        " on(job) group_left()",
        " on(job) group_right()",
        " ignoring(i) group_left()",
        " on(job) group_left(i)",
        " on(i) group_right(job)",
    ]);
    let fill = match choices.pick(6) {
        4 => " fill(0)",
        5 => choices.one(&[" fill_left(2)", " fill_right(7)"]),
        _ => "",
    };
    let (left, right) = (grouped(choices, depth), grouped(choices, depth));
    format!("{left} {op}{bool}{clause}{fill} {right}")
}

fn set(choices: &mut Choices<'_>, depth: usize) -> String {
    let op = choices.one(&["or", "and", "unless"]);
    let clause = choices.one(&["", " on(job)", " ignoring(i)", " on()", " on(__name__)"]);
    let (left, right) = (grouped(choices, depth), grouped(choices, depth));
    format!("{left} {op}{clause} {right}")
}

fn with_scalar(choices: &mut Choices<'_>, depth: usize) -> String {
    let is_comparison = choices.pick(2) == 1;
    let op = if is_comparison { choices.one(&COMPARISONS) } else { choices.one(&ARITHMETIC) };
    let bool = if is_comparison && choices.pick(2) == 1 { " bool" } else { "" };
    let (vector, scalar) = (grouped(choices, depth), scalar(choices, depth));
    if choices.pick(2) == 0 {
        format!("{vector} {op}{bool} {scalar}")
    } else {
        format!("{scalar} {op}{bool} {vector}")
    }
}

fn map(choices: &mut Choices<'_>, depth: usize) -> String {
    let name = choices.one(&[
        "abs",
        "ceil",
        "floor",
        "sqrt",
        "sgn",
        "round",
        "clamp",
        "clamp_min",
        "clamp_max",
        "histogram_count",
        "histogram_sum",
        "histogram_avg",
        "elementary",
        "date",
    ]);
    if name == "elementary" {
        let name = choices.one(&[
            "exp", "ln", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
            "cosh", "tanh", "asinh", "acosh", "atanh", "deg", "rad",
        ]);
        return format!("{name}({})", vector(choices, depth));
    }
    if name == "date" {
        let name = choices.one(&DATES);
        return if choices.pick(4) == 0 {
            format!("{name}()")
        } else {
            // The calendar is walked through day by day.
            format!("{name}((({} * 1e4) > -1e10) < 1e10)", grouped(choices, depth))
        };
    }
    if name.starts_with("histogram") {
        // Below these the engine reads no buckets, which more than sums would show.
        let clause = choices.one(&["", "sum", "avg", "sum by (job)"]);
        return format!("{name}({clause}({}))", selector(choices));
    }
    let vector = vector(choices, depth);
    match name {
        "round" if choices.pick(2) == 1 => format!("round({vector}, {})", scalar(choices, 1)),
        "clamp" => format!("clamp({vector}, {}, {})", scalar(choices, 1), scalar(choices, 1)),
        "clamp_min" | "clamp_max" => format!("{name}({vector}, {})", scalar(choices, 1)),
        _ => format!("{name}({vector})"),
    }
}

fn relabelled(choices: &mut Choices<'_>, depth: usize) -> String {
    let target = choices.one(&["new", "i", "job", "__name__"]);
    let vector = vector(choices, depth);
    if choices.pick(3) == 2 {
        return format!("label_join({vector}, \"{target}\", \"-\", \"job\", \"i\")");
    }
    let text = choices.one(&["v$1", "", "$0", "fixed"]);
    let source = choices.one(&["job", "i", "__name__", "none"]);
    let pattern = choices.one(&["(.*)", "x", "0", ""]);
    format!("label_replace({vector}, \"{target}\", \"{text}\", \"{source}\", \"{pattern}\")")
}
