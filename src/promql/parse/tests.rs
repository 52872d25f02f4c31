//! What the parser accepts, what it refuses and how, and that no text exhausts it.
//!
//! The refusals were compared with a running Prometheus 3.14.

use proptest::prelude::*;

use super::*;
use crate::promql::ast::{AtModifier, BinaryOp, Cardinality};

fn accepted(text: &str) -> Ast {
    parse(text, &ParseOptions::default()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn refused(text: &str) -> String {
    match parse(text, &ParseOptions::default()) {
        Ok(ast) => panic!("{text} was read as {ast}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_printed_is_canonical() {
    for (text, printed) in [
        ("1+2*3", "1 + 2 * 3"),
        ("-1^2", "-1 ^ 2"),
        ("- -1", "1"),
        ("010 + 0x1F + 1_000 + .5 + 1e3", "8 + 31 + 1000 + 0.5 + 1000"),
        ("90m", "1h30m"),
        ("foo[300] offset -90s @ 12.5", "foo[5m] @ 12.500 offset -1m30s"),
        ("FOO{b='x', a=~\"y\"}", "FOO{a=~\"y\",b=\"x\"}"),
        ("{'m.n', 'é'!=`z`}", "{\"é\"!=\"z\",__name__=\"m.n\"}"),
        ("SUM(foo) BY (a, 'b c',)", "sum by (a, \"b c\") (foo)"),
        ("avg without () (foo)", "avg without () (foo)"),
        ("a > BOOL on() group_left(x) b", "a > bool on () group_left (x) b"),
        ("a and ignoring(x) b", "a and ignoring (x) b"),
        ("max_over_time(sum(a)[1h:] @ end())[2h:3s]", "max_over_time(sum(a)[1h:] @ end())[2h:3s]"),
        (
            "(max_over_time(sum(a)[1h:] @ end()))[1w:3s]",
            "(max_over_time(sum(a)[1h:] @ end()))[1w:3s]",
        ),
        ("# all\nup # of it", "up"),
        ("sum + by + offset", "sum + by + offset"),
        (
            "label_replace(a,'b',\"c\\n\",`\\d`,'')",
            "label_replace(a, \"b\", \"c\\n\", \"\\\\d\", \"\")",
        ),
        ("inf - NaN", "+Inf - NaN"),
    ] {
        let ast = accepted(text);
        assert_eq!(ast.to_string(), printed);
        assert_eq!(accepted(printed).to_string(), printed);
    }
}

/// With everything that is experimental.
fn accepted_with_all(text: &str) -> Ast {
    parse(text, &ParseOptions::all_features()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn durations_are_computed() {
    for (text, printed) in [
        ("a[1m+30]", "a[1m + 30]"),
        ("a[-(-1m)]", "a[-(-1m)]"),
        ("a[(1m)]", "a[(1m)]"),
        ("a[((1m))]", "a[(1m)]"),
        ("a[2^3^2*1s]", "a[2 ^ 3 ^ 2 * 1s]"),
        ("a[-2^2 + +step()]", "a[-2 ^ 2 + step()]"),
        (
            "a[MAX_OF(1m, range()/4):min_of(step(),1s)]",
            "a[max_of(1m, range() / 4):min_of(step(), 1s)]",
        ),
        ("a offset -5m - 1", "a offset -5m - 1"),
        ("a offset -step() + 1", "a offset -step() + 1"),
        ("a offset +range()", "a offset range()"),
        ("a offset -(5m) + 1", "a offset -(5m) + 1"),
        ("a offset (5m) + 1", "a offset (5m) + 1"),
        ("a offset - -5m * 2", "a offset (5m * 2)"),
        ("a offset --step()^2", "a offset --step() ^ 2"),
        ("a offset -2^2", "a offset -2s ^ 2"),
        ("a[5m] smoothed @ 1 offset (1m)", "a[5m] smoothed @ 1.000 offset (1m)"),
        ("a offset 1m anchored @ end()", "a @ end() anchored offset 1m"),
        ("a + fill(-0x10) b", "a + fill (-16) b"),
        (
            "a * on(x) group_left fill_right(1) fill_left(1e9) b",
            "a * on (x) group_left () fill_left (1e+09) fill_right (1) b",
        ),
        ("a </ 2 >/ 1", "a </ 2 >/ 1"),
        ("fill + fill_left", "fill + fill_left"),
    ] {
        let ast = accepted_with_all(text);
        assert_eq!(ast.to_string(), printed, "{text}");
        crate::promql::print::check_round_trip(text);
    }
    // What follows a parenthesis belongs to the offset, what follows a number does not.
    let is_operation = |text| {
        matches!(
            accepted_with_all(text).nodes.last().map(|node| &node.expr),
            Some(Expr::Binary { .. })
        )
    };
    assert!(is_operation("a offset 5m + 1m") && is_operation("a offset -(5m) + 1m"));
    assert!(!is_operation("a offset (5m) + 1m") && !is_operation("a offset - -5m + 1m"));
}

#[test]
fn what_is_experimental_has_words_of_its_own() {
    let refused = |text| parse(text, &ParseOptions::all_features()).unwrap_err().to_string();
    for (text, message) in [
        ("a smoothed anchored", "anchored and smoothed modifiers cannot be used together"),
        ("a[1m:] anchored", "anchored modifier is not supported for subqueries"),
        ("1 smoothed", "smoothed modifier not implemented"),
        ("a + fill(1) 1", "filling in missing series only allowed between instant vectors"),
        ("a or fill(1) b", "filling in missing series not allowed for set operators"),
    ] {
        assert_eq!(refused(text), format!("1:1: parse error: {message}"), "{text}");
    }
}

#[test]
fn operators_bind_as_documented() {
    // The root's operator and what stands to its right.
    for (text, op, right) in [
        ("a or b and c", BinaryOp::Or, "b and c"),
        ("a and b unless c", BinaryOp::Unless, "c"),
        ("a == b + c", BinaryOp::Eql, "b + c"),
        ("a - b - c", BinaryOp::Sub, "c"),
        ("a * b atan2 c", BinaryOp::Atan2, "c"),
        ("a ^ b ^ c", BinaryOp::Pow, "b ^ c"),
        ("-a * b", BinaryOp::Mul, "b"),
        ("a * -b ^ c", BinaryOp::Mul, "-b ^ c"),
        ("a + b offset 5m - c", BinaryOp::Sub, "c"),
    ] {
        let ast = accepted(text);
        let Expr::Binary { op: found, rhs, .. } = ast.expr(ast.root) else {
            panic!("{text} is no binary operation");
        };
        assert_eq!((*found, crate::promql::print::print(&ast, *rhs)), (op, right.to_owned()));
    }
}

#[test]
fn children_stand_before_their_parents() {
    let ast = accepted("topk by (a) (1, rate(b[5m])) / on (a) group_right () (c > 1)");
    for (index, node) in ast.nodes.iter().enumerate() {
        let children: Vec<NodeId> = match &node.expr {
            Expr::Window { selector: id, .. } | Expr::Unary { expr: id, .. } | Expr::Paren(id) => {
                vec![*id]
            }
            Expr::Call { args, .. } => args.clone(),
            Expr::Aggregate { expr, param, .. } => param.iter().chain([expr]).copied().collect(),
            Expr::Binary { lhs, rhs, .. } => vec![*lhs, *rhs],
            _ => Vec::new(),
        };
        assert!(children.iter().all(|id| (id.0 as usize) < index));
    }
    assert_eq!(ast.root.0 as usize, ast.nodes.len() - 1);
    let Expr::Binary { matching: Some(matching), .. } = ast.expr(ast.root) else {
        panic!("vectors are matched");
    };
    assert_eq!(matching.cardinality, Cardinality::OneToMany);
}

#[test]
fn modifiers_and_spans_are_kept() {
    let ast = accepted("rate(foo[5m] @ start() offset 1h) + vector(1)");
    let Expr::Binary { lhs, matching, .. } = ast.expr(ast.root) else { panic!("an operation") };
    assert!(matching.is_some());
    assert_eq!(ast.node(*lhs).span, Span { start: 0, end: 33 });
    let Expr::Selector(selector) = ast.expr(NodeId(0)) else { panic!("a selector first") };
    assert_eq!(selector.modifiers.at, Some(AtModifier::Start));
    assert_eq!(selector.modifiers.offset_ms, 3_600_000);
    assert_eq!(ast.node(NodeId(1)).value_type, ValueType::Matrix);
    assert!(matches!(accepted("foo + 1").expr(NodeId(2)), Expr::Binary { matching: None, .. }));
}

const RANGE_EXPECTED: &str = "unexpected \"]\" in subquery or range selector, expected number, \
                              duration, step(), or range()";
const RANGE_EXPECTED_PAREN: &str = "unexpected \")\" in subquery or range selector, expected \
                                    number, duration, step(), or range()";
const OFFSET_EXPECTED: &str =
    "unexpected identifier \"b\" in offset, expected number, duration, step(), or range()";

/// Text, place and message.
const REFUSED: &[[&str; 3]] = &[
    ["", "unknown position", "no expression found in input"],
    ["#", "1:1", "no expression found in input"],
    ["1 +", "1:4", "unexpected end of input"],
    ["1\n+\n )", "3:3", "unexpected right parenthesis ')'"],
    ["(1", "1:3", "unclosed left parenthesis"],
    ["sum(a b)", "1:7", "unexpected identifier \"b\" in aggregation"],
    ["sum by a", "1:8", "unexpected identifier \"a\" in grouping opts, expected \"(\""],
    ["sum by (,) (a)", "1:9", "unexpected \",\" in grouping opts, expected label"],
    ["sum() ", "1:1", "no arguments for aggregate expression provided"],
    [
        "topk(a)",
        "1:1",
        "wrong number of arguments for aggregate expression provided, expected 2, got 1",
    ],
    ["f(1) $", "1:1", "unknown function with name \"f\""],
    ["abs(a,)", "1:6", "trailing commas not allowed in function call args"],
    ["abs(1)", "1:5", "expected type instant vector in call to function \"abs\", got scalar"],
    ["time(1)", "1:1", "expected 0 argument(s) in call to \"time\", got 1"],
    ["round(a,1,2)", "1:1", "expected at most 2 argument(s) in call to \"round\", got 3"],
    ["a{", "1:3", "unexpected end of input inside braces"],
    ["a{b}", "1:4", "unexpected \"}\" in label matching, expected label matching operator"],
    ["a{b=c}", "1:5", "unexpected identifier \"c\" in label matching, expected string"],
    ["{b=\"\"}", "1:1", "vector selector must contain at least one non-empty matcher"],
    ["a{__name__=\"b\"}", "1:1", "metric name must not be set twice: \"a\" or \"b\""],
    ["a[5m", "1:5", "unclosed left bracket"],
    [
        "a[]",
        "1:3",
        "unexpected \"]\" in subquery or range selector, expected number, duration, \
         step(), or range()",
    ],
    ["a[0]", "1:3", "duration must be greater than 0"],
    ["a[1m2h]", "1:3", "not a valid duration string: \"1m2h\""],
    ["1[5m]", "1:2", "ranges only allowed for vector selectors"],
    ["a @ b", "1:5", "unexpected identifier \"b\" in @, expected timestamp"],
    ["a offset 1m offset 1m", "1:1", "offset may not be set multiple times"],
    ["1 == 1", "1:3", "comparisons between scalars must use BOOL modifier"],
    ["a and 1", "1:1", "set operator \"and\" not allowed in binary scalar expression"],
    ["a and on () group_left () b", "1:1", "no grouping allowed for \"and\" operation"],
    ["\"\\z\"", "1:1", "unknown escape sequence U+007A 'z'"],
    ["start()", "1:1", "function \"start\" is not enabled"],
    ["a smoothed", "1:1", "smoothed modifier is experimental and not enabled"],
    ["a + fill (1) b", "1:1", "binop fill modifiers are experimental and not enabled"],
    ["a[1m / 0]", "1:6", "division by zero"],
    ["a offset (1m % -0)", "1:14", "modulo by zero"],
    ["a[1m +]", "1:7", RANGE_EXPECTED],
    ["a[min_of(1m)]", "1:12", RANGE_EXPECTED_PAREN],
    ["a[1m", "1:5", "unclosed left bracket"],
    ["a offset -b", "1:11", OFFSET_EXPECTED],
    ["a[300y]", "1:3", "duration out of range"],
    ["1 </ bool 1", "1:3", "bool modifier can only be used on comparison operators"],
];

#[test]
fn faults_are_told_in_prometheus_words() {
    for [text, place, message] in REFUSED {
        assert_eq!(refused(text), format!("{place}: parse error: {message}"), "{text}");
    }
}

#[test]
fn experimental_functions_are_behind_their_flag() {
    let options = ParseOptions { experimental_functions: true, ..ParseOptions::default() };
    for text in ["limitk(1, a)", "sort_by_label(a, 'b')", "max_of(1, 2)", "info(a, {b='c'})"] {
        refused(text);
        assert!(parse(text, &options).is_ok(), "{text}");
    }
    let error = parse("info(a, b)", &options).unwrap_err();
    assert!(error.message.contains("expected label selectors only"), "{error}");
}

#[test]
fn a_lone_selector_is_read() {
    let options = ParseOptions::default();
    assert_eq!(parse_selector("a{b='c'}", &options).unwrap().len(), 2);
    assert_eq!(parse_selector("{}", &options).unwrap().len(), 0);
    let error = parse_selector("a + b", &options).unwrap_err();
    assert_eq!(error.to_string(), "1:3: parse error: unexpected <op:+>");
}

/// Runs on a stack of one megabyte.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(1 << 20).spawn(test).unwrap().join().unwrap();
}

#[test]
fn no_depth_exhausts_the_stack() {
    on_a_small_stack(|| {
        let too_deep = "query is nested too deeply, limit 256";
        for text in [
            "(".repeat(1_000_000),
            "abs(".repeat(100_000),
            "sum by (a) (".repeat(80_000),
            "2^".repeat(100_000),
            "-".repeat(100_000),
        ] {
            assert!(refused(&text).ends_with(too_deep), "{}", &text[..10]);
        }
        let chain = |parts: usize| format!("1{}", "+1".repeat(parts));
        assert!(refused(&chain(100_000)).ends_with("query has too many parts, limit 100000"));
        let roomy = ParseOptions { nodes_max: 1_000_000, ..ParseOptions::default() };
        let ast = parse(&chain(100_000), &roomy).unwrap();
        assert_eq!(ast.to_string().len(), chain(100_000).len() + 2 * 100_000);
        let text = format!("{}a{}", "(".repeat(256), ")".repeat(256));
        assert_eq!(accepted(&text).to_string(), text);
        refused(&format!("({text})"));
        refused(&"a[1m:]".repeat(10_000));
    });
}

#[test]
fn a_long_text_is_refused_by_its_length() {
    let error = refused(&"a".repeat((1 << 20) + 1));
    assert!(error.ends_with("query is 1048577 bytes long, limit 1048576"), "{error}");
}

/// Texts of queries, most of them well-formed.
fn query() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-z_:]{1,3}(\\{[ab]=~?\"[xyé]{0,2}\"\\})?( @ 1.5| @ end\\(\\))?( offset -?[1-9]m)?",
        "[0-9]{1,4}(\\.[0-9]{1,3})?",
        "[1-9][0-9]?(ms|s|m|h|d|w|y)",
        "[a-z]\\[[1-9][smh]( [-+*/%^] ([1-9]|\\(-?[1-9]m\\)|-step\\(\\)|range\\(\\))){0,3}\\]",
        "[a-z] offset [-+]{0,2}(\\([1-9]m\\)|[1-9]m|max_of\\(1, -[1-9]s\\)|step\\(\\))( [-*^] 2)?",
        "\\{\"[a-z é]{1,4}\"\\}",
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let op = prop::sample::select(vec![
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "atan2",
            "> bool",
            "!= on (a)",
            "and",
            "unless on (b)",
            "or ignoring (a, b)",
            "* on (a) group_left (c)",
            "- fill (-1)",
            "anchored -",
            "/ ignoring (a) fill_right (0.5)",
            "</",
        ]);
        let call = prop::sample::select(vec![
            "abs",
            "sum",
            "avg by (a)",
            "topk without (b, \"c d\")",
            "vector",
            "scalar",
            "-",
            "",
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(l, op, r)| format!("{l} {op} {r}")),
            (call, inner.clone()).prop_map(|(f, a)| format!("{f} ({a})")),
            (inner.clone(), "[1-9]m:([1-9]s)?")
                .prop_map(|(a, window)| format!("max_over_time(({a})[{window}])")),
            (inner, "[a-z]{1,2}\\[[1-9]h\\]").prop_map(|(_, window)| format!("rate({window})")),
        ]
    })
}

proptest! {
    #[test]
    fn printing_and_parsing_agree(text in query()) {
        if let Ok(ast) = parse(&text, &ParseOptions::all_features()) {
            let printed = ast.to_string();
            let again = parse(&printed, &ParseOptions::all_features());
            prop_assert!(again.is_ok(), "{} printed as {}", text, printed);
            prop_assert_eq!(again.unwrap().to_string(), printed);
        }
    }

    #[test]
    fn round_trips_keep_the_size(text in query()) {
        crate::promql::print::check_round_trip(&text);
    }

    #[test]
    fn no_text_panics(text in "[a-z0-9(){}\\[\\],:=!~<>+*/^@#'\"`\\\\ \n.é-]{0,40}") {
        let _ = parse(&text, &ParseOptions::default());
        let _ = parse_selector(&text, &ParseOptions::default());
    }
}
