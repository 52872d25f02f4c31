//! Spans as the request by which a receiver takes them.
//!
//! Source: `opentelemetry/proto/collector/trace/v1/trace_service.proto` and what it uses.

use super::{Finished, Kind, Value};
use crate::protowire::field::{write_bytes, write_fixed32, write_fixed64, write_int64};

/// What a span's flags say of its parent: that it is known whether it is in another process.
const SAMPLED: u32 = 1;

/// An `ExportTraceServiceRequest` of a resource with these attributes.
pub fn export_request(resource: &[(&str, &str)], spans: &[Finished]) -> Vec<u8> {
    let mut of_resource = Vec::new();
    for (key, text) in resource {
        write_bytes(1, &attribute(key, &Value::from(*text)), &mut of_resource);
    }
    let mut scope_spans = Vec::new();
    write_bytes(1, &[], &mut scope_spans);
    for span in spans {
        write_bytes(2, &encoded(span), &mut scope_spans);
    }
    let mut resource_spans = Vec::new();
    write_bytes(1, &of_resource, &mut resource_spans);
    write_bytes(2, &scope_spans, &mut resource_spans);
    let mut request = Vec::new();
    write_bytes(1, &resource_spans, &mut request);
    request
}

fn attribute(key: &str, value: &Value) -> Vec<u8> {
    let mut any = Vec::new();
    match value {
        Value::Text(text) => write_bytes(1, text.as_bytes(), &mut any),
        Value::Int(number) => write_int64(3, *number, &mut any),
    }
    let mut pair = Vec::new();
    write_bytes(1, key.as_bytes(), &mut pair);
    write_bytes(2, &any, &mut pair);
    pair
}

fn encoded(span: &Finished) -> Vec<u8> {
    let mut out = Vec::new();
    write_bytes(1, &span.context.trace, &mut out);
    write_bytes(2, &span.context.span, &mut out);
    if let Some(state) = &span.context.state {
        write_bytes(3, state.as_bytes(), &mut out);
    }
    if let Some(parent) = &span.parent {
        write_bytes(4, parent, &mut out);
    }
    write_bytes(5, span.name.as_bytes(), &mut out);
    let kind = match span.kind {
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
    };
    write_int64(6, kind, &mut out);
    write_fixed64(7, span.start_ns, &mut out);
    write_fixed64(8, span.end_ns, &mut out);
    for (key, value) in &span.attributes {
        write_bytes(9, &attribute(key, value), &mut out);
    }
    if let Some(error) = &span.error {
        let mut status = Vec::new();
        write_bytes(2, error.as_bytes(), &mut status);
        write_int64(3, 2, &mut status);
        write_bytes(15, &status, &mut out);
    }
    write_fixed32(16, SAMPLED, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::super::Context;
    use super::*;
    use crate::protowire::field::Fields;

    fn part(message: &[u8], number: u32) -> Vec<u8> {
        let fields = Fields::new(message).map(Result::unwrap);
        let mut found = fields.filter(|(known, _)| *known == number);
        found.next().unwrap().1.bytes().unwrap().to_vec()
    }

    #[test]
    fn a_request_holds_what_the_protocol_wants() {
        let context = Context { trace: [1; 16], span: [2; 8], is_sampled: true, state: None };
        let span = Finished {
            context,
            parent: Some([3; 8]),
            name: "work".into(),
            kind: Kind::Client,
            start_ns: 5,
            end_ns: 7,
            attributes: vec![("count", 4_i64.into()), ("name", "x".into())],
            error: Some("broken".to_owned()),
        };
        let request = export_request(&[("service.name", "prometheus")], &[span]);
        let resource_spans = part(&request, 1);
        let resource = part(&part(&resource_spans, 1), 1);
        assert_eq!(part(&resource, 1), b"service.name");
        let span = part(&part(&resource_spans, 2), 2);
        assert_eq!((part(&span, 1), part(&span, 2)), (vec![1; 16], vec![2; 8]));
        assert_eq!((part(&span, 4), part(&span, 5)), (vec![3; 8], b"work".to_vec()));
        assert_eq!(part(&part(&span, 15), 2), b"broken");
        let first = part(&span, 9);
        assert_eq!((part(&first, 1), part(&first, 2)), (b"count".to_vec(), vec![3 << 3, 4]));
        assert!(span.windows(9).any(|bytes| bytes == [7 << 3 | 1, 5, 0, 0, 0, 0, 0, 0, 0]));
        assert!(span.windows(2).any(|bytes| bytes == [6 << 3, 3]));
    }
}
