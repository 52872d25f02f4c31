//! What is known before evaluation: over which times each node is evaluated, which parts are the
//! same at every step and therefore evaluated once, and which nodes an aggregation takes in
//! series by series.
//!
//! COMPAT: a part is evaluated once exactly where Prometheus does so; this shows in `topk` with a
//! parameter that varies, in sort warnings and in functions of the evaluation time.

use std::collections::HashMap;

use super::ast::{AggregateOp, Ast, AtModifier, BinaryOp, Expr, NodeId, TimeModifiers, ValueType};
use super::columns::Grid;
use super::engine::QueryRange;
use super::functions::{self, Implementation};
use super::nested::is_nestable;
use super::tally::{self, Place, Scope};

/// Functions whose result depends on the evaluation time.
const TIME_DEPENDENT: [&str; 10] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
];

/// How one node is evaluated.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodePlan {
    /// The times it is evaluated at.
    pub grid: Grid,
    /// Evaluated at one time for a parent that has more: the parent repeats it.
    pub once: bool,
    /// Not evaluated by itself: its consumer pulls its series one by one.
    pub fused: bool,
    /// All that is asked of its histograms is their count and sum.
    pub stats_only: bool,
    /// Where its samples are counted: an index into [`Plan::scopes`].
    pub scope: usize,
}

/// The plan of a query.
#[derive(Debug)]
pub(super) struct Plan {
    /// One for each node of the tree.
    pub nodes: Vec<NodePlan>,
    /// The times at which the inside of each subquery has values.
    subqueries: HashMap<NodeId, Grid>,
    /// Where samples are counted; the first is the whole query.
    pub scopes: Vec<Scope>,
    /// The query's own times, which `start()` and `end()` behind `@` mean.
    range: QueryRange,
}

impl Plan {
    /// Plans `ast` for evaluation over `range`.
    pub(super) fn new(ast: &Ast, range: QueryRange, subquery_step_ms: i64) -> Self {
        let grid = Grid::new(range.start_ms, range.end_ms, range.step_ms);
        let blank =
            NodePlan { grid, once: false, fused: false, stats_only: false, scope: tally::WHOLE };
        let nodes = vec![blank; ast.nodes.len()];
        let scopes = vec![Scope { grid, outer: None }];
        let mut plan = Self { nodes, subqueries: HashMap::new(), scopes, range };
        let invariance = Invariance::of(ast);
        if invariance.wrap[ast.root.0 as usize] {
            plan.evaluate_once(ast.root, grid, tally::WHOLE);
        }
        for index in (0..ast.nodes.len()).rev() {
            plan.place_children(ast, NodeId(index as u32), &invariance, subquery_step_ms);
        }
        plan.find_stats_only(ast);
        for index in 0..ast.nodes.len() {
            plan.fuse(ast, NodeId(index as u32));
        }
        plan
    }

    /// The plan of node `id`.
    pub(super) fn node(&self, id: NodeId) -> NodePlan {
        self.nodes[id.0 as usize]
    }

    /// The times at which the inside of subquery `id` has values.
    pub(super) fn subquery_grid(&self, id: NodeId) -> Grid {
        self.subqueries[&id]
    }

    /// The query's own times.
    pub(super) fn range(&self) -> QueryRange {
        self.range
    }

    /// The fixed time of a selector or subquery with `@`.
    pub(super) fn fixed_ms(&self, modifiers: TimeModifiers) -> Option<i64> {
        modifiers.at.map(|at| match at {
            AtModifier::Time(t_ms) => t_ms,
            AtModifier::Start => self.range.start_ms,
            AtModifier::End => self.range.end_ms,
        })
    }

    /// Marks what is below a function of histograms' counts and sums, unless something between or
    /// above needs their buckets.
    fn find_stats_only(&mut self, ast: &Ast) {
        // For each node: a function above asks for stats; something above needs buckets.
        let mut asked = vec![(false, false); ast.nodes.len()];
        for index in (0..ast.nodes.len()).rev() {
            let (mut stats, mut buckets) = asked[index];
            self.nodes[index].stats_only = stats && !buckets;
            match ast.expr(NodeId(index as u32)) {
                Expr::Subquery { .. } => buckets = true,
                Expr::Binary { op, .. } => buckets |= op.is_trim(),
                Expr::Call { function, .. } => match function.name {
                    "histogram_count" | "histogram_sum" | "histogram_avg" => stats = true,
                    "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => {
                        buckets = true;
                    }
                    _ => {}
                },
                _ => {}
            }
            for child in ast.expr(NodeId(index as u32)).children() {
                asked[child.0 as usize] = (stats, buckets);
            }
        }
    }

    /// Has `id` evaluated once for the steps of `grid`, which are those of scope `outer`.
    fn evaluate_once(&mut self, id: NodeId, grid: Grid, outer: usize) {
        let once = grid.steps > 1;
        let single = Grid { steps: grid.steps.min(1), ..grid };
        let mut scope = outer;
        if once {
            scope = self.scopes.len();
            self.scopes.push(Scope { grid: single, outer: Some((outer, Place::Once)) });
        }
        let node = &mut self.nodes[id.0 as usize];
        *node = NodePlan { grid: single, once, scope, ..*node };
    }

    fn place_children(
        &mut self,
        ast: &Ast,
        id: NodeId,
        invariance: &Invariance,
        subquery_step_ms: i64,
    ) {
        let NodePlan { grid, scope, .. } = self.node(id);
        let mut place = |child: NodeId, may_wrap: bool| {
            if may_wrap && invariance.wrap[child.0 as usize] {
                self.evaluate_once(child, grid, scope);
            } else {
                let child = &mut self.nodes[child.0 as usize];
                *child = NodePlan { grid, scope, ..*child };
            }
        };
        match ast.expr(id) {
            Expr::Number { .. } | Expr::String(_) | Expr::Bytes(_) | Expr::Selector(_) => {}
            Expr::Window { selector, .. } => place(*selector, false),
            Expr::Paren(inner) | Expr::Unary { expr: inner, .. } => place(*inner, false),
            Expr::Aggregate { expr, param, .. } => {
                place(*expr, false);
                if let Some(param) = param {
                    place(*param, false);
                }
            }
            Expr::Binary { lhs, rhs, .. } => {
                place(*lhs, true);
                place(*rhs, true);
            }
            Expr::Call { args, .. } => args.iter().for_each(|arg| place(*arg, true)),
            Expr::Subquery { expr, range_ms, step_ms, modifiers, .. } => {
                let step_ms = step_ms.unwrap_or(subquery_step_ms).max(1);
                let inner = self.inner_grid(grid, *range_ms, step_ms, *modifiers);
                self.subqueries.insert(id, inner);
                let place = if unwrap_parens(ast, ast.root) == id {
                    Place::Matrix
                } else {
                    Place::Windows { offset_ms: modifiers.offset_ms, range_ms: *range_ms }
                };
                let inside = self.scopes.len();
                self.scopes.push(Scope { grid: inner, outer: Some((scope, place)) });
                if invariance.invariant[expr.0 as usize] {
                    self.evaluate_once(*expr, inner, inside);
                } else {
                    let child = &mut self.nodes[expr.0 as usize];
                    *child = NodePlan { grid: inner, scope: inside, ..*child };
                }
            }
        }
    }

    /// The times at which the inside of a subquery is evaluated: multiples of its step within
    /// all windows of `grid`.
    fn inner_grid(
        &self,
        grid: Grid,
        range_ms: i64,
        step_ms: i64,
        modifiers: TimeModifiers,
    ) -> Grid {
        if grid.steps == 0 {
            return Grid { start_ms: grid.start_ms, step_ms, steps: 0 };
        }
        let (first, last) = match self.fixed_ms(modifiers) {
            Some(t_ms) => (t_ms, t_ms),
            None => (grid.start_ms, grid.end_ms()),
        };
        let left = first.saturating_sub(modifiers.offset_ms).saturating_sub(range_ms);
        let end_ms = last.saturating_sub(modifiers.offset_ms);
        let mut start_ms = step_ms * (left / step_ms);
        if start_ms <= left {
            start_ms = start_ms.saturating_add(step_ms);
        }
        Grid::new(start_ms, end_ms, step_ms)
    }

    /// Marks what the node takes in series by series: for a window function its window, or the
    /// inside of its subquery; for an aggregation the chain of maps below it down to a source.
    ///
    /// What is told of the inside of a subquery that is taken in is told by the consumer. Of equal
    /// texts the last one's place stays, so nothing that tells may be evaluated in between.
    fn fuse(&mut self, ast: &Ast, id: NodeId) {
        match ast.expr(id) {
            Expr::Window { selector, .. } => self.nodes[selector.0 as usize].fused = true,
            Expr::Call { function, args } if function.name == "timestamp" => {
                let mut arg = args[0];
                if matches!(ast.expr(unwrap_parens(ast, arg)), Expr::Selector(_)) {
                    self.nodes[arg.0 as usize].fused = true;
                    while let Expr::Paren(inner) = ast.expr(arg) {
                        arg = *inner;
                        self.nodes[arg.0 as usize].fused = true;
                    }
                }
            }
            // What info metrics are wanted is no vector of its own.
            Expr::Call { function, args } if function.name == "info" => {
                if let Some(&selector) = args.get(1) {
                    self.nodes[selector.0 as usize].fused = true;
                }
            }
            Expr::Aggregate { op, expr, .. } if streams(*op) => {
                let mut chain = vec![*expr];
                while let Some(next) = stage_input(ast, chain[chain.len() - 1]) {
                    chain.push(next);
                }
                let source = chain[chain.len() - 1];
                let whole = chain.iter().all(|node| !self.node(*node).once);
                if whole && is_source(ast, source) {
                    let tells = |node: &NodeId| !tells_nothing(ast, *node);
                    let is_between = |node: &NodeId| {
                        // The chain goes down.
                        chain.binary_search_by(|link| node.0.cmp(&link.0)).is_err()
                    };
                    let inside = inside_chain(ast, source);
                    let nodes = (source.0 + 1..id.0).map(NodeId);
                    if !inside.is_empty() && nodes.filter(is_between).any(|node| tells(&node)) {
                        self.set_fused(&inside, false);
                    }
                    self.set_fused(&chain, true);
                }
            }
            Expr::Call { .. } => {
                let inside = inside_chain(ast, id);
                let whole = inside.iter().all(|node| !self.node(*node).once);
                if let Some(&source) = inside.last()
                    && whole
                    && is_nestable(ast, source)
                    && (source.0 + 1..id.0).all(|node| tells_nothing(ast, NodeId(node)))
                {
                    self.set_fused(&inside, true);
                }
            }
            _ => {}
        }
    }

    fn set_fused(&mut self, nodes: &[NodeId], fused: bool) {
        for node in nodes {
            self.nodes[node.0 as usize].fused = fused;
        }
    }
}

/// Whether an aggregation keeps only one state for each group and step.
pub(super) fn streams(op: AggregateOp) -> bool {
    matches!(
        op,
        AggregateOp::Sum
            | AggregateOp::Avg
            | AggregateOp::Min
            | AggregateOp::Max
            | AggregateOp::Count
            | AggregateOp::Group
            | AggregateOp::Stddev
            | AggregateOp::Stdvar
    )
}

/// The vector that a node maps series by series; `None` for every other kind of node.
pub(super) fn stage_input(ast: &Ast, id: NodeId) -> Option<NodeId> {
    if ast.node(id).value_type != ValueType::Vector {
        return None;
    }
    match ast.expr(id) {
        Expr::Paren(inner) | Expr::Unary { expr: inner, .. } => Some(*inner),
        Expr::Call { function, args } => match functions::implementation(function.name) {
            Some(Implementation::Map(_)) => args.first().copied(),
            _ => None,
        },
        // Trims tell what they could not cut, which needs more than a map.
        Expr::Binary { op, lhs, rhs, .. } if !op.is_trim() => {
            let is_scalar = |id: NodeId| ast.node(id).value_type == ValueType::Scalar;
            match (is_scalar(*lhs), is_scalar(*rhs)) {
                (false, true) => Some(*lhs),
                (true, false) => Some(*rhs),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What stands inside of the subquery that a call takes windows of, with and without parentheses;
/// nothing for every other kind of node.
fn inside_chain(ast: &Ast, id: NodeId) -> Vec<NodeId> {
    let mut chain = Vec::new();
    if let Some((_, matrix)) = window_argument(ast, id)
        && let Expr::Subquery { expr, .. } = ast.expr(matrix)
    {
        chain.push(*expr);
        while let Expr::Paren(inner) = ast.expr(chain[chain.len() - 1]) {
            chain.push(*inner);
        }
    }
    chain
}

/// Whether a node by itself gives rise to no warning that has a place.
fn tells_nothing(ast: &Ast, id: NodeId) -> bool {
    match ast.expr(id) {
        Expr::Number { .. }
        | Expr::String(_)
        | Expr::Bytes(_)
        | Expr::Paren(_)
        | Expr::Unary { .. }
        | Expr::Window { .. }
        | Expr::Subquery { .. } => true,
        Expr::Selector(selector) => selector.extension.is_none(),
        Expr::Binary { .. } => ast.node(id).value_type == ValueType::Scalar,
        Expr::Call { function, .. } => {
            matches!(function.name, "scalar" | "vector" | "time" | "start" | "end" | "step")
        }
        Expr::Aggregate { .. } => false,
    }
}

/// Whether series of this node can be made one after the other from storage or a subquery.
pub(super) fn is_source(ast: &Ast, id: NodeId) -> bool {
    match ast.expr(id) {
        Expr::Selector(_) => true,
        Expr::Call { function, .. } => {
            window_argument(ast, id).is_some() && function.name != "absent_over_time"
        }
        _ => false,
    }
}

/// The matrix argument of a call: its place and its node, parentheses removed.
pub(super) fn window_argument(ast: &Ast, id: NodeId) -> Option<(usize, NodeId)> {
    let Expr::Call { args, .. } = ast.expr(id) else { return None };
    args.iter().enumerate().find_map(|(place, arg)| {
        (ast.node(*arg).value_type == ValueType::Matrix).then(|| (place, unwrap_parens(ast, *arg)))
    })
}

/// The node inside any number of parentheses.
pub(super) fn unwrap_parens(ast: &Ast, mut id: NodeId) -> NodeId {
    while let Expr::Paren(inner) = ast.expr(id) {
        id = *inner;
    }
    id
}

/// Whether a binary operator compares.
pub(super) fn is_comparison(op: BinaryOp) -> bool {
    use BinaryOp::{Eql, Gte, Gtr, Lss, Lte, Neq};
    matches!(op, Eql | Neq | Gtr | Lss | Gte | Lte)
}

/// Which nodes are the same at every step.
struct Invariance {
    invariant: Vec<bool>,
    /// Invariant, and worth evaluating once.
    wrap: Vec<bool>,
}

impl Invariance {
    fn of(ast: &Ast) -> Self {
        let mut this = Self { invariant: Vec::new(), wrap: Vec::new() };
        for index in 0..ast.nodes.len() {
            let (invariant, wrap) = this.judge(ast, NodeId(index as u32));
            this.invariant.push(invariant);
            this.wrap.push(wrap);
        }
        this
    }

    fn judge(&self, ast: &Ast, id: NodeId) -> (bool, bool) {
        let of = |id: NodeId| (self.invariant[id.0 as usize], self.wrap[id.0 as usize]);
        let both = |yes: bool| (yes, yes);
        match ast.expr(id) {
            Expr::Number { .. } | Expr::String(_) | Expr::Bytes(_) => (true, false),
            Expr::Selector(selector) => both(selector.modifiers.at.is_some()),
            Expr::Window { selector, .. } => (of(*selector).0, false),
            Expr::Subquery { modifiers, .. } => (modifiers.at.is_some(), false),
            Expr::Paren(inner) | Expr::Unary { expr: inner, .. } => of(*inner),
            Expr::Aggregate { expr, .. } => of(*expr),
            Expr::Binary { lhs, rhs, .. } => both(of(*lhs).0 && of(*rhs).0),
            Expr::Call { function, args } => {
                let all = args.iter().all(|arg| of(*arg).0);
                if function.name == "timestamp" {
                    return both(
                        all && args.iter().all(|arg| {
                            matches!(ast.expr(unwrap_parens(ast, *arg)), Expr::Selector(_))
                        }),
                    );
                }
                if matches!(function.name, "start" | "end" | "range" | "step") {
                    return (true, false);
                }
                both(all && !TIME_DEPENDENT.contains(&function.name))
            }
        }
    }
}
