//! Queries over the metrics of [`super::data`].

use super::choices::Choices;

const COMPARISONS: [&str; 6] = ["==", "!=", "<", ">", "<=", ">="];
const ARITHMETIC: [&str; 5] = ["+", "-", "*", "/", "%"];

/// A query. One over a range gives a vector or a scalar.
pub(crate) fn query(choices: &mut Choices<'_>, is_range: bool) -> String {
    match choices.pick(12) {
        11 if !is_range => matrix(choices, 2),
        10 => scalar(choices, 2),
        9 => {
            let by = choices.one(&["sort", "sort_desc"]);
            format!("{by}({})", vector(choices, 2))
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

fn shift(choices: &mut Choices<'_>) -> &'static str {
    match choices.pick(8) {
        7 => choices.one(&[
            " offset 30s",
            " offset -45s",
            " @ 60",
            " @ start()",
            " @ end()",
            " @ 100 offset 20s",
            " offset -7s @ end()",
            " @ 250.5",
        ]),
        _ => "",
    }
}

fn scalar(choices: &mut Choices<'_>, depth: usize) -> String {
    let kinds = if depth == 0 { 2 } else { 6 };
    match choices.pick(kinds) {
        0 => choices.one(&["1", "2", "0.5", "0", "-1", "3.7", "NaN", "Inf", "-Inf"]).to_owned(),
        1 => "time()".to_owned(),
        2 => format!("scalar({})", vector(choices, depth - 1)),
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
    let length = choices.one(&["1m", "20s", "5m", "47s", "2m", "15s"]);
    if depth == 0 || choices.pick(3) < 2 {
        let selector = selector(choices);
        return format!("{selector}[{length}]{}", shift(choices));
    }
    let step = choices.one(&["", "15s", "7s", "1m"]);
    let inner = vector(choices, depth - 1);
    format!("({inner})[{length}:{step}]{}", shift(choices))
}

fn vector(choices: &mut Choices<'_>, depth: usize) -> String {
    if depth == 0 {
        let selector = selector(choices);
        return format!("{selector}{}", shift(choices));
    }
    let below = depth - 1;
    match choices.pick(14) {
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
            let name = choices.one(&["absent", "timestamp", "sort_by_label"]);
            let more = if name == "sort_by_label" { ", \"i\"" } else { "" };
            format!("{name}({}{more})", vector(choices, below))
        }
        _ => grouped(choices, below),
    }
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
        "quantile",
        "count_values",
    ]);
    let parameter = match op {
        "topk" | "bottomk" | "limitk" => {
            let k = choices.one(&["1", "2", "0", "3", ""]);
            if k.is_empty() { scalar(choices, 1) + "," } else { format!("{k},") }
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
    ]);
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
