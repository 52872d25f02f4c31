//! Pages of consoles: libraries, parameters, and values that would break out.

use std::collections::BTreeMap;

use crate::model::Labels;
use crate::template::{ConsoleData, Data, Expander, NoQueries};

fn console(text: &str, libraries: &[(&str, &str)]) -> Result<String, String> {
    let libraries: Vec<(String, String)> =
        libraries.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let values = vec!["<1>".to_owned(), "2".to_owned()];
    let data = ConsoleData {
        params: BTreeMap::from([("a".to_owned(), values)]),
        path: "node.html".to_owned(),
        external_labels: Labels::from_pairs([("dc", "x")]),
    };
    Expander::new(0, "http://h/p", &NoQueries)
        .expand_console("node.html", text, &libraries, &data)
        .map_err(|error| error.to_string())
}

#[test]
fn consoles_use_libraries_and_parameters() {
    let library = "{{define \"head\"}}<b>{{.}}</b>{{end}}{{define \"row\"}}<i>{{.arg0}}</i>{{end}}";
    let text = "{{template \"head\" .Path}}{{$params.a}}{{range $rawParams.a}}[{{.}}]{{end}}\
                {{$externalLabels.dc}}{{tmpl \"row\" (args \"&\")}}{{pathPrefix}}";
    assert_eq!(
        console(text, &[("prom.lib", library)]),
        Ok("<b>node.html</b>&lt;1&gt;[&lt;1&gt;][2]x<i>&amp;</i>/p".to_owned())
    );
    let error = console("x", &[("bad.lib", "{{")]).unwrap_err();
    assert_eq!(
        error,
        "error parsing template files for __console_node.html: template: bad.lib:1: unclosed action"
    );
    let error = console("{{tmpl \"none\" 1}}", &[]).unwrap_err();
    assert!(error.contains("error calling tmpl: html/template: \"none\" is undefined"), "{error}");
}

/// Places of a page, each with a mark where a value goes.
const PLACES: [&str; 16] = [
    "<p>@</p>",
    "<p title=\"@\">",
    "<p title='@'>",
    "<p title=@ >",
    "<p @ >",
    "<a href=\"@\">",
    "<a href=\"/x?y=@\">",
    "<a onclick=\"f(@)\">",
    "<a onclick=\"f('@')\">",
    "<p style=\"color: @\">",
    "<script>var x = @;</script>",
    "<script>var x = \"@\";</script>",
    "<script>var x = `@`;</script>",
    "<style>p { color: @ }</style>",
    "<textarea>@</textarea>",
    "<!-- @ --><p>@",
];

proptest::proptest! {
    /// No value ends the place that it stands in: what may end one is not in what is written.
    #[test]
    fn no_value_breaks_out(
        value in "(</|<!--|-->|script>|javascript:|alert\\(1\\)|[<>\"'`&;{}()=/\\\\$ a-c\n]){0,12}"
    ) {
        for place in PLACES {
            let text = place.replace('@', "{{.}}");
            let (before, after) = place.split_once('@').unwrap();
            let data = Data::Alert(crate::template::AlertData {
                labels: Labels::from_pairs([("v", &value)]),
                external_labels: Labels::empty(),
                external_url: String::new(),
                value: crate::template::SampleValue::Float(0.0),
            });
            let text = text.replace("{{.}}", "{{.Labels.v}}");
            let expanded = Expander::new(0, "", &NoQueries)
                .expand_html("t", &text, &[], &data)
                .unwrap();
            if place.starts_with("<!--") {
                continue;
            }
            let written = &expanded[before.len()..expanded.len() - after.len()];
            let bad: &[char] = match place {
                _ if before.ends_with('=') || before.ends_with("p ") => &['<', '>', '"', '\'', ' '],
                _ if before.ends_with("= ") => &['<', '>'],
                _ => &['<', '>', '`'],
            };
            let strays: Vec<char> = written.chars().filter(|c| bad.contains(c)).collect();
            let is_backquote = |c: &char| *c == '`';
            let in_text = !place.contains("script") && strays.iter().all(is_backquote);
            proptest::prop_assert!(strays.is_empty() || in_text, "{} in {}", expanded, place);
            if before.ends_with('"') || before.ends_with('\'') {
                let quote = before.chars().next_back().unwrap();
                proptest::prop_assert!(!written.contains(quote), "{} in {}", expanded, place);
            }
        }
    }
}
