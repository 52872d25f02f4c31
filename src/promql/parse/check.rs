//! Types and what else a tree must satisfy once its text is well-formed.
//!
//! The walk visits nodes in Prometheus's order, so that of several faults the same one is told.

use super::{Fault, Parsed};
use crate::model::METRIC_NAME;
use crate::promql::ast::{
    AggregateOp, BinaryOp, Cardinality, Expr, Function, Node, NodeId, Selector, Span, ValueType,
    VectorMatching,
};
use crate::promql::quote::quote;

/// What is still to be looked at; the last one first.
enum Step {
    Enter(NodeId),
    /// The node itself, its children checked.
    Leave(NodeId),
    Expect {
        id: NodeId,
        want: ValueType,
        role: Role,
    },
}

enum Role {
    Aggregated,
    Param,
    Argument(&'static Function),
}

struct Check<'a> {
    nodes: &'a mut [Node],
    text: &'a str,
    steps: Vec<Step>,
    /// The second argument of `info`, which need not select anything by itself.
    may_match_everything: Option<NodeId>,
}

/// Checks the tree under `root`; drops `matching` of operations between others than vectors.
pub(super) fn check(nodes: &mut [Node], root: NodeId, text: &str) -> Parsed<()> {
    let steps = vec![Step::Enter(root)];
    let mut check = Check { nodes, text, steps, may_match_everything: None };
    while let Some(step) = check.steps.pop() {
        match step {
            Step::Enter(id) => check.enter(id)?,
            Step::Leave(id) => check.leave(id)?,
            Step::Expect { id, want, role } => check.expect(id, want, &role)?,
        }
    }
    Ok(())
}

impl Check<'_> {
    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn value_type(&self, id: NodeId) -> ValueType {
        self.node(id).value_type
    }

    fn enter(&mut self, id: NodeId) -> Parsed<()> {
        let node = &self.nodes[id.0 as usize];
        let first = self.steps.len();
        match &node.expr {
            Expr::Number { .. } | Expr::String(_) | Expr::Bytes(_) => {}
            Expr::Selector(selector) => {
                let may_match_everything = self.may_match_everything == Some(id);
                check_selector(selector, node.span, may_match_everything)?;
            }
            Expr::Paren(inner) | Expr::Window { selector: inner, .. } => {
                self.steps.push(Step::Enter(*inner));
            }
            Expr::Unary { expr, .. } | Expr::Subquery { expr, .. } => {
                self.steps.extend([Step::Enter(*expr), Step::Leave(id)]);
            }
            Expr::Binary { lhs, rhs, .. } => {
                self.steps.extend([Step::Enter(*lhs), Step::Enter(*rhs), Step::Leave(id)]);
            }
            Expr::Aggregate { op, expr, param, .. } => {
                let (want, role) = (ValueType::Vector, Role::Aggregated);
                self.steps.extend([Step::Enter(*expr), Step::Expect { id: *expr, want, role }]);
                if let Some(id) = *param {
                    let is_label = *op == AggregateOp::CountValues;
                    let want = if is_label { ValueType::String } else { ValueType::Scalar };
                    let role = Role::Param;
                    self.steps.extend([Step::Enter(id), Step::Expect { id, want, role }]);
                }
            }
            Expr::Call { function, args } => {
                let function = *function;
                check_argument_count(function, args.len(), node.span)?;
                let wanted = function.args.iter().chain(function.args.last().into_iter().cycle());
                for (&id, &want) in args.iter().zip(wanted) {
                    let role = Role::Argument(function);
                    self.steps.extend([Step::Enter(id), Step::Expect { id, want, role }]);
                }
                if function.name == "info"
                    && let &[_, selector] = args.as_slice()
                {
                    self.check_info_selector(node.span, selector)?;
                }
            }
        }
        self.steps[first..].reverse();
        Ok(())
    }

    fn leave(&mut self, id: NodeId) -> Parsed<()> {
        let node = self.node(id);
        match &node.expr {
            Expr::Unary { expr, .. } => {
                let found = self.value_type(*expr);
                if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                    let message = format!(
                        "unary expression only allowed on expressions of type scalar or instant \
                         vector, got {}",
                        quote(found.documented())
                    );
                    return Err(Fault::new(node.span, message));
                }
            }
            Expr::Subquery { expr, .. } => {
                let found = self.value_type(*expr);
                if found != ValueType::Vector {
                    let found = found.as_str();
                    let message =
                        format!("subquery is only allowed on instant vector, got {found} instead");
                    return Err(Fault::new(node.span, message));
                }
            }
            Expr::Binary { .. } => self.leave_binary(id)?,
            _ => {}
        }
        Ok(())
    }

    fn leave_binary(&mut self, id: NodeId) -> Parsed<()> {
        let node = &self.nodes[id.0 as usize];
        let Expr::Binary { op, lhs, rhs, return_bool, matching: Some(matching) } = &node.expr
        else {
            unreachable!("BUG: a binary operation is checked once");
        };
        let (left, right) = (self.node(*lhs), self.node(*rhs));
        let types = [left.value_type, right.value_type];
        let fault = |message: &str| Err(Fault::new(operator_span(self.text, left, right), message));
        if *return_bool && !op.is_comparison() {
            return fault("bool modifier can only be used on comparison operators");
        }
        if op.is_comparison() && !return_bool && types == [ValueType::Scalar; 2] {
            return fault("comparisons between scalars must use BOOL modifier");
        }
        let in_both = |label: &&String| matching.on && matching.include.contains(label);
        if let Some(label) = matching.labels.iter().find(in_both) {
            let label = quote(label);
            return fault(&format!("label {label} must not occur in ON and GROUP clause at once"));
        }
        for side in [left, right] {
            if !matches!(side.value_type, ValueType::Scalar | ValueType::Vector) {
                let message = "binary expression must contain only scalar and instant vector types";
                return Err(Fault::new(side.span, message));
            }
        }
        check_matching(*op, matching, types, node.span)?;
        let (op, types) = (*op, types);
        if let Expr::Binary { matching, .. } = &mut self.nodes[id.0 as usize].expr {
            if types != [ValueType::Vector; 2] {
                *matching = None;
            } else if let Some(matching) = matching
                && op.is_set()
            {
                matching.cardinality = Cardinality::ManyToMany;
            }
        }
        Ok(())
    }

    fn expect(&self, id: NodeId, want: ValueType, role: &Role) -> Parsed<()> {
        let found = self.value_type(id);
        if found == want {
            return Ok(());
        }
        let role = match role {
            Role::Aggregated => "aggregation expression".to_owned(),
            Role::Param => "aggregation parameter".to_owned(),
            Role::Argument(function) => format!("call to function {}", quote(function.name)),
        };
        Err(Fault::new(self.node(id).span, mismatch(want, &role, found)))
    }

    fn check_info_selector(&mut self, call: Span, id: NodeId) -> Parsed<()> {
        let argument = self.node(id);
        if argument.value_type != ValueType::Vector {
            let role = "call to function \"info\"";
            return Err(Fault::new(call, mismatch(ValueType::Vector, role, argument.value_type)));
        }
        let message = match &argument.expr {
            Expr::Selector(Selector { name: None, .. }) => {
                self.may_match_everything = Some(id);
                return Ok(());
            }
            Expr::Selector(_) => "expected label selectors only, got vector selector instead",
            _ => "expected label selectors only",
        };
        Err(Fault::new(argument.span, message))
    }
}

fn mismatch(want: ValueType, role: &str, found: ValueType) -> String {
    format!("expected type {} in {role}, got {}", want.documented(), found.documented())
}

fn check_selector(selector: &Selector, span: Span, may_match_everything: bool) -> Parsed<()> {
    let Some(name) = &selector.name else {
        if may_match_everything || selector.matchers.iter().any(|m| !m.matches_empty()) {
            return Ok(());
        }
        let message = "vector selector must contain at least one non-empty matcher";
        return Err(Fault::new(span, message));
    };
    // The last condition is the one on the name in front of the braces.
    let inside = selector.matchers.split_last().map_or(&[][..], |(_, inside)| inside);
    match inside.iter().find(|matcher| matcher.name == METRIC_NAME) {
        Some(other) => {
            let (name, other) = (quote(name), quote(&other.value));
            let message = format!("metric name must not be set twice: {name} or {other}");
            Err(Fault::new(span, message))
        }
        None => Ok(()),
    }
}

fn check_argument_count(function: &Function, count: usize, span: Span) -> Parsed<()> {
    let declared = function.args.len();
    let least = if function.variadic == 0 { declared } else { declared - 1 };
    let most = usize::try_from(function.variadic).ok().map(|optional| least + optional);
    let (bound, limit) = match most {
        _ if function.variadic == 0 && count != declared => ("", declared),
        _ if count < least => ("at least ", least),
        Some(most) if count > most => ("at most ", most),
        _ => return Ok(()),
    };
    let name = quote(function.name);
    let message = format!("expected {bound}{limit} argument(s) in call to {name}, got {count}");
    Err(Fault::new(span, message))
}

fn check_matching(
    op: BinaryOp,
    matching: &VectorMatching,
    types: [ValueType; 2],
    span: Span,
) -> Parsed<()> {
    if types != [ValueType::Vector; 2] {
        if !matching.labels.is_empty() {
            let message = "vector matching only allowed between instant vectors";
            return Err(Fault::new(span, message));
        }
        if !matching.fill.is_none() {
            let message = "filling in missing series only allowed between instant vectors";
            return Err(Fault::new(span, message));
        }
        if types.contains(&ValueType::Scalar) && op.is_set() {
            let op = quote(op.as_str());
            let message = format!("set operator {op} not allowed in binary scalar expression");
            return Err(Fault::new(span, message));
        }
    } else if op.is_set() {
        if matching.cardinality != Cardinality::OneToOne {
            let message = format!("no grouping allowed for {} operation", quote(op.as_str()));
            return Err(Fault::new(span, message));
        }
        if !matching.fill.is_none() {
            let message = "filling in missing series not allowed for set operators";
            return Err(Fault::new(span, message));
        }
    }
    Ok(())
}

/// What stands between the operands, without the blanks around it.
fn operator_span(text: &str, left: &Node, right: &Node) -> Span {
    let between = text.get(left.span.end as usize..right.span.start as usize).unwrap_or("");
    let blanks = [' ', '\t', '\n', '\r'];
    let skipped = between.len() - between.trim_start_matches(blanks).len();
    let start = left.span.end + skipped as u32;
    Span { start, end: start + between.trim_matches(blanks).len() as u32 }
}
