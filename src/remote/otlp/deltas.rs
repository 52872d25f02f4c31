//! Points of delta temporality made cumulative: each stream's points are added up.
//!
//! COMPAT: as OpenTelemetry's delta-to-cumulative processor does it, which Prometheus uses: what
//! tells streams apart, which points are dropped, and that a stream without points for five
//! minutes begins anew. Unlike it, the number of streams is bounded, a point keeps its own
//! exemplars, and a point without a value ends the series and changes no sum.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};

use super::buckets::SCALE_MIN;
use super::exponents;
use crate::protowire::otlp::{
    Attributes, OtlpData, OtlpMetric, OtlpPoint, ResourceMetrics, Temporality,
};

/// How long a stream is kept without points.
const STALE_AFTER: Duration = Duration::from_mins(5);
/// How often streams without points are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);
/// Buckets that weigh as much as a stream does.
const BUCKETS_PER_WEIGHT: u64 = 32;

/// What tells streams apart, as the first half of a SHA-256.
type Key = [u8; 16];

/// The sums of all streams.
#[derive(Debug)]
pub struct DeltaStreams {
    weight_max: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    streams: HashMap<Key, Stream>,
    weight: u64,
    swept: Instant,
}

#[derive(Debug)]
struct Stream {
    start_ns: u64,
    t_ns: u64,
    seen: Instant,
    total: Total,
}

#[derive(Debug)]
enum Total {
    Number(f64),
    Histogram(Box<OtlpPoint>),
    Exponential(Box<OtlpPoint>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Histogram,
    Exponential,
}

/// What a stream may come to weigh.
#[derive(Debug, Clone, Copy)]
struct Room {
    weight_most: u64,
    /// Of all streams.
    weight_max: u64,
}

impl Room {
    fn check(self, before: u64, after: u64) -> Result<(), String> {
        if after <= before.max(self.weight_most) {
            return Ok(());
        }
        let Self { weight_max, .. } = self;
        Err(format!(
            "no room for more buckets of a stream of delta temporality \
             (--storage.limits.max-delta-streams={weight_max})"
        ))
    }
}

/// Points that are no part of any sum.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) points: usize,
    pub(super) first_fault: Option<String>,
}

impl DeltaStreams {
    /// `streams_max`: most streams that are kept at a time, where 32 buckets of a histogram count
    /// as one more; 0: no limit.
    pub fn new(streams_max: u64) -> Self {
        let weight_max = if streams_max == 0 { u64::MAX } else { streams_max };
        let state = State { streams: HashMap::new(), weight: 0, swept: Instant::now() };
        Self { weight_max, state: Mutex::new(state) }
    }

    /// Makes every point of delta temporality the sum of its stream up to it. Points that cannot
    /// be added are gone, and so are metrics that have no others.
    pub(super) fn accumulate(&self, resources: &mut [ResourceMetrics]) -> Dropped {
        self.accumulate_at(resources, Instant::now())
    }

    fn accumulate_at(&self, resources: &mut [ResourceMetrics], now: Instant) -> Dropped {
        let mut dropped = Dropped::default();
        if !has_deltas(resources) {
            return dropped;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sweep(now);
        for resource in resources {
            let mut of_resource = Context::new(&SHA256);
            hash_attributes(&mut of_resource, &resource.attributes);
            for scope in &mut resource.scopes {
                let mut of_scope = of_resource.clone();
                hash_text(&mut of_scope, &scope.name);
                hash_text(&mut of_scope, &scope.version);
                hash_attributes(&mut of_scope, &scope.attributes);
                scope.metrics.retain_mut(|metric| {
                    let mut adding = Adding { state: &mut state, dropped: &mut dropped, now };
                    !is_delta(metric) || adding.metric(&of_scope, metric, self.weight_max)
                });
            }
        }
        dropped
    }
}

fn is_delta(metric: &OtlpMetric) -> bool {
    match &metric.data {
        OtlpData::Sum { temporality, .. }
        | OtlpData::Histogram(_, temporality)
        | OtlpData::Exponential(_, temporality) => *temporality == Temporality::Delta,
        OtlpData::Unknown | OtlpData::Gauge(_) | OtlpData::Summary(_) => false,
    }
}

fn has_deltas(resources: &[ResourceMetrics]) -> bool {
    let scopes = resources.iter().flat_map(|resource| &resource.scopes);
    scopes.flat_map(|scope| &scope.metrics).any(is_delta)
}

fn hash_text(context: &mut Context, text: &str) {
    context.update(&(text.len() as u64).to_le_bytes());
    context.update(text.as_bytes());
}

/// In whatever order they were sent.
fn hash_attributes(context: &mut Context, attributes: &Attributes) {
    let mut sorted: Vec<&(String, String)> = attributes.iter().collect();
    sorted.sort();
    context.update(&(sorted.len() as u64).to_le_bytes());
    for (name, value) in sorted {
        hash_text(context, name);
        hash_text(context, value);
    }
}

fn weight(point: &OtlpPoint) -> u64 {
    let OtlpPoint { bounds, bucket_counts, positive, negative, .. } = point;
    let buckets = bounds.len() + bucket_counts.len() + positive.1.len() + negative.1.len();
    1 + buckets as u64 / BUCKETS_PER_WEIGHT
}

/// One request's points on their way into the sums.
struct Adding<'a> {
    state: &'a mut State,
    dropped: &'a mut Dropped,
    now: Instant,
}

impl Adding<'_> {
    /// Whether points are left.
    fn metric(&mut self, of_scope: &Context, metric: &mut OtlpMetric, weight_max: u64) -> bool {
        let mut of_metric = of_scope.clone();
        hash_text(&mut of_metric, &metric.name);
        hash_text(&mut of_metric, &metric.unit);
        let (points, temporality, kind, tag) = match &mut metric.data {
            OtlpData::Sum { points, temporality, is_monotonic } => {
                (points, temporality, Kind::Number, u8::from(*is_monotonic))
            }
            OtlpData::Histogram(points, temporality) => (points, temporality, Kind::Histogram, 2),
            OtlpData::Exponential(points, temporality) => {
                (points, temporality, Kind::Exponential, 3)
            }
            OtlpData::Unknown | OtlpData::Gauge(_) | OtlpData::Summary(_) => return true,
        };
        of_metric.update(&[tag]);
        points.retain_mut(|point| {
            if point.is_absent {
                return true;
            }
            let mut of_point = of_metric.clone();
            hash_attributes(&mut of_point, &point.attributes);
            let mut key = Key::default();
            key.copy_from_slice(&of_point.finish().as_ref()[..16]);
            match self.state.add(key, kind, point, self.now, weight_max) {
                Ok(()) => true,
                Err(why) => {
                    self.dropped.points += 1;
                    let fault = || format!("metric {:?}: {why}", metric.name);
                    self.dropped.first_fault.get_or_insert_with(fault);
                    false
                }
            }
        });
        *temporality = Temporality::Cumulative;
        !points.is_empty()
    }
}

impl State {
    /// Forgets streams that have ended.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) < SWEEP_INTERVAL {
            return;
        }
        self.swept = now;
        self.streams.retain(|_, stream| now.saturating_duration_since(stream.seen) <= STALE_AFTER);
        self.weight = self.streams.values().map(|stream| stream.total.weight()).sum();
    }

    /// Adds `point` to its stream, and makes it the sum.
    fn add(
        &mut self,
        key: Key,
        kind: Kind,
        point: &mut OtlpPoint,
        now: Instant,
        weight_max: u64,
    ) -> Result<(), String> {
        if kind == Kind::Exponential && point.scale < SCALE_MIN {
            return Err(format!("scale must be >= {SCALE_MIN}, was {}", point.scale));
        }
        let count = self.streams.len();
        match self.streams.entry(key) {
            Entry::Vacant(place) => {
                let total = Total::of(kind, point);
                if self.weight.saturating_add(total.weight()) > weight_max {
                    return Err(format!(
                        "no room for a new stream of delta temporality beside {count} others \
                         (--storage.limits.max-delta-streams={weight_max})"
                    ));
                }
                self.weight += total.weight();
                let (start_ns, t_ns) = (point.start_ns, point.t_ns);
                place.insert(Stream { start_ns, t_ns, seen: now, total });
            }
            Entry::Occupied(mut place) => {
                let stream = place.get_mut();
                stream.seen = now;
                let before = stream.total.weight();
                let others = self.weight.saturating_sub(before);
                let weight_most = weight_max.saturating_sub(others);
                stream.add(point, Room { weight_most, weight_max })?;
                self.weight = others.saturating_add(stream.total.weight());
            }
        }
        Ok(())
    }
}

impl Stream {
    fn add(&mut self, point: &mut OtlpPoint, room: Room) -> Result<(), String> {
        if point.start_ns < self.start_ns {
            return Err(format!(
                "a point that starts at {} ns, before its stream at {} ns: is one series sent \
                 by several senders?",
                point.start_ns, self.start_ns
            ));
        }
        if point.t_ns <= self.t_ns {
            return Err(format!(
                "out of order: a point at {} ns, and its stream is at {} ns already",
                point.t_ns, self.t_ns
            ));
        }
        match &mut self.total {
            Total::Number(total) => {
                *total += point.value;
                point.value = *total;
            }
            Total::Histogram(total) if total.bounds != point.bounds => {
                room.check(weight(total), weight(point))?;
                **total = kept(point);
                self.start_ns = point.start_ns;
            }
            Total::Histogram(total) => {
                for (total, count) in total.bucket_counts.iter_mut().zip(&point.bucket_counts) {
                    *total = total.wrapping_add(*count);
                }
                add_counts(total, point);
                point.bucket_counts.clone_from(&total.bucket_counts);
                (point.count, point.sum) = (total.count, total.sum);
            }
            Total::Exponential(total) => {
                let mut sum = kept(total);
                exponents::add(&mut sum, point, SCALE_MIN)?;
                room.check(weight(total), weight(&sum))?;
                add_counts(&mut sum, point);
                **total = sum;
                point.positive.clone_from(&total.positive);
                point.negative.clone_from(&total.negative);
                point.scale = total.scale;
                (point.zero_count, point.zero_threshold) = (total.zero_count, total.zero_threshold);
                (point.count, point.sum) = (total.count, total.sum);
            }
        }
        self.t_ns = point.t_ns;
        point.start_ns = self.start_ns;
        Ok(())
    }
}

fn add_counts(total: &mut OtlpPoint, point: &OtlpPoint) {
    total.count = total.count.wrapping_add(point.count);
    total.sum = total.sum.zip(point.sum).map(|(total, sum)| total + sum);
}

/// What of a point belongs to the sum.
fn kept(point: &OtlpPoint) -> OtlpPoint {
    OtlpPoint {
        count: point.count,
        sum: point.sum,
        bounds: point.bounds.clone(),
        bucket_counts: point.bucket_counts.clone(),
        scale: point.scale,
        zero_count: point.zero_count,
        zero_threshold: point.zero_threshold,
        positive: point.positive.clone(),
        negative: point.negative.clone(),
        ..OtlpPoint::default()
    }
}

impl Total {
    fn of(kind: Kind, point: &OtlpPoint) -> Self {
        match kind {
            Kind::Number => Self::Number(point.value),
            Kind::Histogram => Self::Histogram(Box::new(kept(point))),
            Kind::Exponential => Self::Exponential(Box::new(kept(point))),
        }
    }

    fn weight(&self) -> u64 {
        match self {
            Self::Number(_) => 1,
            Self::Histogram(total) | Self::Exponential(total) => weight(total),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protowire::otlp::{OtlpExemplar, ScopeMetrics};

    const DELTA: Temporality = Temporality::Delta;

    fn point(start_ns: u64, t_ns: u64, value: f64) -> OtlpPoint {
        let attributes = vec![("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())];
        OtlpPoint { attributes, start_ns, t_ns, value, ..OtlpPoint::default() }
    }

    fn sent(data: OtlpData) -> Vec<ResourceMetrics> {
        let metric = OtlpMetric { name: "m".to_owned(), data, ..OtlpMetric::default() };
        let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
        vec![ResourceMetrics { scopes: vec![scope], ..ResourceMetrics::default() }]
    }

    fn sums(points: Vec<OtlpPoint>) -> Vec<ResourceMetrics> {
        sent(OtlpData::Sum { points, temporality: DELTA, is_monotonic: true })
    }

    /// What is left of the metric, all of it cumulative now.
    fn left(streams: &DeltaStreams, mut request: Vec<ResourceMetrics>) -> Vec<OtlpPoint> {
        streams.accumulate(&mut request);
        let Some(metric) = request[0].scopes[0].metrics.pop() else { return Vec::new() };
        assert!(!is_delta(&metric));
        metric.data.points().to_vec()
    }

    #[test]
    fn sums_grow_from_the_first_start() {
        let streams = DeltaStreams::new(0);
        let values = |points: Vec<OtlpPoint>| {
            let pairs = points.iter().map(|point| (point.start_ns, point.t_ns, point.value));
            pairs.collect::<Vec<_>>()
        };
        let first = sums(vec![point(1, 2, 1.5), point(2, 3, 2.0)]);
        assert_eq!(values(left(&streams, first)), [(1, 2, 1.5), (1, 3, 3.5)]);
        let mut other_order = point(3, 4, 1.0);
        other_order.attributes.reverse();
        assert_eq!(values(left(&streams, sums(vec![other_order]))), [(1, 4, 4.5)]);
        let mut other_stream = point(3, 4, 1.0);
        other_stream.attributes.pop();
        assert_eq!(values(left(&streams, sums(vec![other_stream]))), [(3, 4, 1.0)]);
        // Late, twice, of an older series: dropped, and the sum stays.
        for (start_ns, t_ns, why) in
            [(3, 4, "out of order"), (3, 1, "out of order"), (0, 9, "starts")]
        {
            let mut request = sums(vec![point(start_ns, t_ns, 100.0)]);
            let dropped = streams.accumulate(&mut request);
            assert_eq!(dropped.points, 1);
            assert!(dropped.first_fault.unwrap().contains(why));
            assert!(request[0].scopes[0].metrics.is_empty());
        }
        assert_eq!(values(left(&streams, sums(vec![point(4, 5, 1.0)]))), [(1, 5, 5.5)]);
    }

    #[test]
    fn what_is_not_a_delta_is_left_alone() {
        let streams = DeltaStreams::new(1);
        for temporality in [Temporality::Cumulative, Temporality::Unspecified] {
            let points = vec![point(1, 2, 3.0)];
            let mut request = sent(OtlpData::Sum { points, temporality, is_monotonic: true });
            let before = request.clone();
            assert_eq!(streams.accumulate(&mut request), Dropped::default());
            assert_eq!(request, before);
        }
        // A point without a value ends the series and is no part of the sum.
        let absent = OtlpPoint { is_absent: true, ..point(2, 3, 7.0) };
        let all = vec![point(1, 2, 1.0), absent, point(3, 4, 1.0)];
        let points = left(&streams, sums(all));
        assert!(points[1].is_absent && points[2].value == 2.0);
    }

    #[test]
    fn histograms_keep_their_exemplars_and_begin_anew_with_other_bounds() {
        let streams = DeltaStreams::new(0);
        let histogram = |t_ns, bounds: &[f64], sum| OtlpPoint {
            count: 3,
            sum,
            bounds: bounds.to_vec(),
            bucket_counts: vec![1, 2],
            exemplars: vec![OtlpExemplar { t_ns, ..OtlpExemplar::default() }],
            ..point(t_ns - 1, t_ns, 0.0)
        };
        let push = |one| left(&streams, sent(OtlpData::Histogram(vec![one], DELTA))).remove(0);
        push(histogram(10, &[1.0], Some(2.0)));
        let second = push(histogram(20, &[1.0], Some(3.0)));
        assert_eq!((second.start_ns, second.count, second.sum), (9, 6, Some(5.0)));
        assert_eq!((second.bucket_counts, second.exemplars[0].t_ns), (vec![2, 4], 20));
        assert_eq!(push(histogram(30, &[1.0], None)).sum, None);
        let other = push(histogram(40, &[2.0], Some(1.0)));
        assert_eq!((other.start_ns, other.count, other.sum), (39, 3, Some(1.0)));
    }

    #[test]
    fn exponential_histograms_are_added() {
        let streams = DeltaStreams::new(0);
        let one = |t_ns, scale| OtlpPoint {
            count: 3,
            scale,
            zero_count: 1,
            positive: (0, vec![1, 1]),
            ..point(t_ns - 1, t_ns, 0.0)
        };
        let push = |one| left(&streams, sent(OtlpData::Exponential(vec![one], DELTA)));
        push(one(10, 1));
        let second = push(one(20, 0)).remove(0);
        assert_eq!((second.scale, second.positive), (0, (0, vec![3, 1])));
        assert_eq!((second.start_ns, second.count, second.zero_count), (9, 6, 2));
        assert!(push(one(30, -5)).is_empty());
        assert_eq!(push(one(40, 0)).remove(0).count, 9);
    }

    #[test]
    fn streams_are_bounded_and_forgotten() {
        let streams = DeltaStreams::new(2);
        let named = |name: &str, t_ns| {
            let mut request = sums(vec![point(1, t_ns, 1.0)]);
            request[0].scopes[0].metrics[0].name = name.to_owned();
            request
        };
        let begun = Instant::now();
        let minutes = |count: u64| begun + Duration::from_mins(count);
        let push = |name, t_ns, now| streams.accumulate_at(&mut named(name, t_ns), now);
        for name in ["a", "b"] {
            assert_eq!(push(name, 2, begun).points, 0);
        }
        let refused = push("c", 2, begun);
        assert!(refused.first_fault.unwrap().contains("--storage.limits.max-delta-streams=2"));
        assert_eq!(push("a", 3, minutes(4)).points, 0);
        assert_eq!(push("c", 3, minutes(5)).points, 1);
        // The second one has ended by now.
        assert_eq!(push("c", 4, minutes(6)).points, 0);
        let mut again = named("b", 5);
        assert_eq!(streams.accumulate_at(&mut again, minutes(10)).points, 0);
        assert_eq!(again[0].scopes[0].metrics[0].data.points()[0].value, 1.0);
    }

    #[test]
    fn buckets_weigh_too_when_they_come_and_when_a_stream_grows() {
        let streams = DeltaStreams::new(2);
        let wide = OtlpPoint { bucket_counts: vec![0; 64], ..point(1, 2, 0.0) };
        let mut request = sent(OtlpData::Histogram(vec![wide], DELTA));
        assert_eq!(streams.accumulate(&mut request).points, 1);
        // A stream that is there may not grow beyond the bound either.
        let streams = DeltaStreams::new(3);
        let push = |data| streams.accumulate(&mut sent(data));
        let histogram = |t_ns, buckets: usize| {
            let bounds: Vec<f64> = (1..buckets).map(|bound| bound as f64).collect();
            let point =
                OtlpPoint { bounds, bucket_counts: vec![1; buckets], ..point(1, t_ns, 0.0) };
            OtlpData::Histogram(vec![point], DELTA)
        };
        let exponential = |t_ns, buckets: usize| {
            let point = OtlpPoint { positive: (0, vec![1; buckets]), ..point(1, t_ns, 0.0) };
            OtlpData::Exponential(vec![point], DELTA)
        };
        for (data, refused) in [
            (histogram(2, 2), 0),
            (exponential(2, 0), 0),
            (histogram(3, 40), 1),
            (exponential(3, 64), 1),
            (exponential(3, 40), 0),
            (exponential(4, 70), 1),
            (histogram(3, 3), 0),
            (exponential(4, 40), 0),
        ] {
            let dropped = push(data);
            assert_eq!(dropped.points, refused);
            let limit = "--storage.limits.max-delta-streams=3";
            assert!(dropped.first_fault.is_none_or(|fault| fault.contains(limit)));
        }
    }
}
