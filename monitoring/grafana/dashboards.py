"""The dashboards: what they show. monitoring/generate.py writes the JSON; panels.py knows Grafana's form."""

import copy
import json
import re

import sources
from grafana.panels import CLICKHOUSE, PROMETHEUS, RUNBOOKS, Board, Panel, board_json, choice, runbook_json, variable

RATE = "[$__rate_interval]"
HEALTH = {0: ("unhealthy", "red"), 0.5: ("degraded", "orange"), 1: ("healthy", "green")}
BREAKER = {0: ("closed", "green"), 1: ("open", "red"), 2: ("half-open", "orange")}


def quantile(q, metric, by, match=""):
    """A quantile of a histogram over the panel's rate interval."""
    return f"histogram_quantile({q}, sum by ({by}, le) (rate({metric}_bucket{match}{RATE})))"


OVERVIEW = Board(
    "data-processing-overview",
    "Data processing: overview",
    "Input, output, latency and errors of the pipeline.",
    [
        Panel(
            "Services ready",
            "Services of four with at least one instance that is healthy or degraded.",
            [("sum(service:ready:bool)", "ready")],
            kind="stat",
            warn=4,
            critical=3,
            low_is_bad=True,
            width=4,
            height=5,
            alerts=["ServiceDown", "ServiceAbsent", "ServiceUnhealthy"],
        ),
        Panel(
            "Output available",
            "Share of the selected time in which every service was ready and the latest prices were less than a minute behind. Objective: 99.9 %.",
            [("avg_over_time(pipeline:output_available:bool[$__range])", "available")],
            kind="stat",
            unit="percentunit",
            warn=0.999,
            critical=0.99,
            low_is_bad=True,
            width=4,
            height=5,
            alerts=["AvailabilityBudgetBurns"],
        ),
        Panel(
            "Late latest prices",
            "Share of the latest prices of the last hour that were stored later than 2 s after their raw append. Objective: at most 1 %.",
            [("slo:latency_error:ratio_rate1h", "late")],
            kind="stat",
            unit="percentunit",
            warn=0.01,
            critical=0.144,
            width=4,
            height=5,
            alerts=["LatencyBudgetBurns"],
        ),
        Panel(
            "Raw append to latest price",
            "99th percentile.",
            [('stage:end_to_end_latency_seconds:p99_5m{stage="latest_price"}', "p99")],
            kind="stat",
            unit="s",
            warn=1,
            critical=2,
            width=4,
            height=5,
            alerts=["EndToEndSlow"],
        ),
        Panel(
            "Projection lag",
            "Age of the oldest event that a store of the latest prices does not contain yet.",
            [("max(projection_lag_seconds)", "lag")],
            kind="stat",
            unit="s",
            warn=300,
            critical=1800,
            width=4,
            height=5,
            alerts=["ProjectionLag"],
        ),
        Panel(
            "Dead letters",
            "Dead letters of the last hour, all stages.",
            [("sum(increase(dlq_messages_total[1h]))", "dead letters")],
            kind="stat",
            warn=10,
            critical=100,
            width=4,
            height=5,
            alerts=["DeadLettersMany"],
        ),
        Panel(
            "Messages",
            "Messages handled a second by input topic. Every service reads what the one before it wrote, so a gap between two lines is a backlog.",
            [(f"sum by (service, topic) (rate(messages_processed_total{RATE}))", "{{service}} {{topic}}")],
            unit="ops",
            alerts=["InputStopped", "ThroughputLow"],
        ),
        Panel(
            "Failed messages",
            "Share of the messages with at least one row in the dead letters.",
            [("service:messages_failed:ratio_rate5m", "{{service}}")],
            unit="percentunit",
            warn=0.05,
            critical=0.1,
            alerts=["ErrorRateHigh"],
        ),
        Panel(
            "Consumer lag",
            "Messages that a group has not committed yet.",
            [("service_group_topic:kafka_consumer_lag:sum", "{{group}} {{topic}}")],
            warn=10000,
            alerts=["ConsumerStalled", "ConsumerLagGrowing"],
        ),
        Panel(
            "Latency by stage",
            "99th percentile of the time from the raw append to each stage. Bars and late ticks take up to two seconds by design.",
            [("stage:end_to_end_latency_seconds:p99_5m", "{{stage}}")],
            unit="s",
            warn=2,
            alerts=["EndToEndSlow"],
        ),
        Panel(
            "Typical latency by stage",
            "Median of the same times.",
            [("stage:end_to_end_latency_seconds:p50_5m", "{{stage}}")],
            unit="s",
        ),
        Panel(
            "Rows written",
            "Rows inserted into ClickHouse a second.",
            [(f"sum by (table) (rate(clickhouse_rows_written_total{RATE}))", "{{table}}")],
            unit="ops",
            alerts=["RowsMissing"],
        ),
        Panel(
            "Latest prices written",
            "Prices written a second, by store.",
            [(f"sum by (store) (rate(projections_updated_total{RATE}))", "{{store}}")],
            unit="ops",
            alerts=["ProjectionNotWriting"],
        ),
        Panel(
            "Errors",
            "Errors a second, the ten most frequent types.",
            [
                (
                    f"topk(10, sum by (service, component, error_type) (rate(errors_total{RATE})))",
                    "{{service}} {{component}} {{error_type}}",
                )
            ],
            unit="ops",
            alerts=["ErrorsFrequent"],
        ),
        Panel(
            "HTTP requests",
            "Requests a second.",
            [(f"sum by (service) (rate(http_requests_total{RATE}))", "{{service}}")],
            unit="reqps",
            alerts=["HttpErrors"],
        ),
        Panel(
            "HTTP latency",
            "99th percentile.",
            [(quantile(0.99, "http_request_duration_seconds", "service"), "{{service}}")],
            unit="s",
            warn=1,
            alerts=["HttpSlow"],
        ),
        Panel(
            "HTTP connections",
            "Open connections.",
            [("sum by (service) (http_connections)", "{{service}}")],
            alerts=["HttpConnectionsNearlyFull"],
        ),
        Panel(
            "Instances",
            "Instances that Prometheus reaches.",
            [('sum by (service) (up{job="services"})', "{{service}}")],
            alerts=["ServiceDown"],
        ),
        Panel(
            "Memory",
            "Resident memory of each instance.",
            [("memory_usage_bytes", "{{service}} {{instance}}")],
            unit="bytes",
            warn=858993459,
            alerts=["ServiceMemoryHigh"],
        ),
        Panel(
            "Health",
            "Health of each instance.",
            [("health_status", "{{service}} {{instance}}")],
            kind="state-timeline",
            values=HEALTH,
            width=16,
            alerts=["ServiceUnhealthy", "ServiceDegraded"],
        ),
    ],
)


def service_board(service, about, own, pool=False, writes=True):
    """A dashboard of one service: what every service has, then its own panels."""
    this = f'service="{service}",instance=~"$instance"'
    panels = [
        Panel(
            "Health",
            "Health of each instance.",
            [(f"health_status{{{this}}}", "{{instance}}")],
            kind="state-timeline",
            values=HEALTH,
            width=12,
            height=6,
            alerts=["ServiceDown", "ServiceUnhealthy", "ServiceDegraded"],
        ),
        Panel(
            "Circuit breakers",
            "A service does not call a dependency whose breaker is open.",
            [(f"circuit_breaker_state{{{this}}}", "{{dependency}} {{instance}}")],
            kind="state-timeline",
            values=BREAKER,
            width=12,
            height=6,
            alerts=["CircuitBreakerOpen"],
        ),
        Panel(
            "Messages by outcome",
            "Messages handled a second.",
            [(f"sum by (topic, status) (rate(messages_processed_total{{{this}}}{RATE}))", "{{topic}} {{status}}")],
            unit="ops",
            stack=True,
            alerts=["ErrorRateHigh"],
        ),
        Panel(
            "Time of a batch",
            "99th percentile of the time that one batch of polled messages takes.",
            [(quantile(0.99, "processing_duration_seconds", "topic", f"{{{this}}}"), "{{topic}}")],
            unit="s",
            warn=1,
            critical=5,
            alerts=["ProcessingSlow"],
        ),
        Panel(
            "Messages of a batch",
            "Mean.",
            [
                (
                    f"sum by (topic) (rate(batch_messages_sum{{{this}}}{RATE})) / sum by (topic) (rate(batch_messages_count{{{this}}}{RATE}))",
                    "{{topic}}",
                )
            ],
        ),
        Panel(
            "Age of the messages read",
            "99th percentile of the time from the append of a message to the end of its batch.",
            [(quantile(0.99, "event_time_lag_seconds", "topic", f"{{{this}}}"), "{{topic}}")],
            unit="s",
            warn=60,
            alerts=["EventTimeLagHigh"],
        ),
        Panel(
            "Consumer lag",
            "Messages that the groups of this service have not committed.",
            [(f'service_group_topic:kafka_consumer_lag:sum{{service="{service}"}}', "{{group}} {{topic}}")],
            warn=10000,
            alerts=["ConsumerStalled", "ConsumerLagGrowing", "ConsumerLagUnknown", "StagePaused"],
        ),
        Panel(
            "Messages in flight",
            "Messages whose outputs are not acknowledged yet.",
            [(f"messages_in_flight{{{this}}}", "{{topic}} {{instance}}")],
        ),
        Panel(
            "Blocked partitions",
            "Partitions in which a record cannot be fetched.",
            [(f"sum by (group, topic) (kafka_partition_blocked{{{this}}})", "{{group}} {{topic}}")],
            critical=1,
            alerts=["PartitionBlocked"],
        ),
        Panel(
            "Errors",
            "Errors a second, the ten most frequent types.",
            [(f"topk(10, sum by (component, error_type) (rate(errors_total{{{this}}}{RATE})))", "{{component}} {{error_type}}")],
            unit="ops",
            alerts=["ErrorsFrequent"],
        ),
        Panel(
            "Dead letters",
            "Dead letters of an hour, the ten most frequent codes.",
            [(f"topk(10, sum by (stage, error_code) (increase(dlq_messages_total{{{this}}}[1h])))", "{{stage}} {{error_code}}")],
            warn=10,
            critical=100,
            alerts=["DeadLettersMany"],
        ),
        Panel(
            "Repetitions dropped",
            "Records a second that the sequencer had accepted before: read again after a restart.",
            [(f"sum by (topic) (rate(repetitions_refused_total{{{this}}}{RATE}))", "{{topic}}")],
            unit="ops",
            alerts=["RepetitionsMany"],
        ),
        *own,
        Panel(
            "Memory",
            "Resident memory.",
            [(f"memory_usage_bytes{{{this}}}", "{{instance}}")],
            unit="bytes",
            warn=858993459,
            alerts=["ServiceMemoryHigh"],
        ),
        Panel(
            "Uptime",
            "Time since the start. A drop is a restart.",
            [(f"uptime_seconds{{{this}}}", "{{instance}}")],
            unit="s",
            alerts=["ServiceRestarting"],
        ),
        Panel(
            "Versions",
            "Instances by version.",
            [(f"count by (version) (build_info{{{this}}})", "{{version}}")],
            kind="stat",
            alerts=["ServiceVersionsDiffer"],
        ),
        Panel(
            "Settings",
            "Instances by the settings that decide results. All members of a group must have the same.",
            [
                (
                    f"count by (group, fingerprint) (service_settings_info{{{this}}})",
                    "{{group}} {{fingerprint}}",
                )
            ],
            kind="stat",
            alerts=["SettingsDiffer"],
        ),
        Panel(
            "HTTP requests",
            "Requests a second by route and status.",
            [(f"sum by (path, status) (rate(http_requests_total{{{this}}}{RATE}))", "{{path}} {{status}}")],
            unit="reqps",
            alerts=["HttpErrors", "HttpRateLimited"],
        ),
        Panel(
            "HTTP latency",
            "99th percentile by route.",
            [(quantile(0.99, "http_request_duration_seconds", "path", f"{{{this}}}"), "{{path}}")],
            unit="s",
            warn=1,
            alerts=["HttpSlow"],
        ),
        Panel(
            "HTTP connections",
            "Share of the permitted connections that are open, and connections refused a second.",
            [
                (f"http_connections{{{this}}} / http_connections_max{{{this}}}", "open {{instance}}"),
                (f"rate(http_connections_refused_total{{{this}}}{RATE})", "refused {{instance}}"),
            ],
            unit="percentunit",
            warn=0.8,
            alerts=["HttpConnectionsNearlyFull"],
        ),
    ]
    if writes:
        panels.append(
            Panel(
                "ClickHouse inserts refused",
                "Inserts that met another writer's fence, in 15 minutes. A few at a takeover are normal.",
                [(f"sum by (table) (increase(clickhouse_writes_fenced_total{{{this}}}[15m]))", "{{table}}")],
                critical=10,
                alerts=["FencedWritesMany"],
            )
        )
        panels.append(
            Panel(
                "ClickHouse rows",
                "Rows inserted a second.",
                [(f"sum by (table) (rate(clickhouse_rows_written_total{{{this}}}{RATE}))", "{{table}}")],
                unit="ops",
                alerts=["RowsMissing"],
            )
        )
    if pool:
        panels.append(
            Panel(
                "PostgreSQL connections",
                "Connections in use and open, of those permitted, and requests that wait for one.",
                [
                    (f"connection_pool_active{{{this}}}", "in use {{instance}}"),
                    (f"connection_pool_size{{{this}}}", "open {{instance}}"),
                    (f"connection_pool_idle{{{this}}}", "idle {{instance}}"),
                    (f"connection_pool_wait{{{this}}}", "waiting {{instance}}"),
                    (f"connection_pool_max{{{this}}}", "permitted {{instance}}"),
                ],
                alerts=["ConnectionPoolNearlyFull"],
            )
        )
    instances = variable(
        "instance", "Instance", f'label_values(up{{job="services",service="{service}"}}, instance)', PROMETHEUS, multi=True
    )
    return Board(f"data-processing-{service}", f"Data processing: {service}", about, panels, [instances])


NORMALIZATION = service_board(
    "normalization",
    "From raw messages to ticks.",
    [
        Panel(
            "Raw messages",
            "Raw messages a second, by outcome.",
            [(f"sum by (outcome) (rate(normalization_messages_total{RATE}))", "{{outcome}}")],
            unit="ops",
            alerts=["InputStopped", "ThroughputLow"],
        ),
        Panel(
            "Ticks",
            "Ticks of parsed messages a second, by outcome.",
            [(f"sum by (outcome) (rate(normalization_ticks_total{RATE}))", "{{outcome}}")],
            unit="ops",
        ),
        Panel(
            "Quality flags",
            "Flags a second. `valid` is the absence of the others.",
            [(f"sum by (flag) (rate(quality_flags_total{RATE}))", "{{flag}}")],
            unit="ops",
            alerts=["MarketQualityLow"],
        ),
        Panel(
            "Event window overflow",
            "Offsets that left the event window early, in 15 minutes. Repetitions of their events count as ticks.",
            [("sum(increase(normalization_events_forgotten_total[15m]))", "offsets")],
            warn=1,
            alerts=["EventWindowOverflow"],
        ),
    ],
)

ENRICHMENT = service_board(
    "enrichment",
    "From ticks to ticks with reference data.",
    [
        Panel(
            "Classifications",
            "Ticks a second, by the source of their reference data.",
            [(f"sum by (method) (rate(enrichment_classifications_total{RATE}))", "{{method}}")],
            unit="ops",
            stack=True,
            alerts=["ReferenceDataEmpty"],
        ),
        Panel(
            "Low confidence",
            "Share of the ticks below the configured confidence.",
            [(f"sum(rate(enrichment_low_confidence_total{RATE})) / sum(rate(enrichment_classifications_total{RATE}))", "share")],
            unit="percentunit",
            warn=0.5,
            alerts=["LowConfidenceMany"],
        ),
        Panel(
            "Reference rows",
            "Rows of reference data in memory.",
            [("reference_entries", "{{instance}}")],
            alerts=["ReferenceDataEmpty"],
        ),
        Panel(
            "Reference loads",
            "Complete loads in an hour, by outcome.",
            [("sum by (outcome) (increase(reference_refreshes_total[1h]))", "{{outcome}}")],
            alerts=["ReferenceDataStale"],
        ),
    ],
    pool=True,
)

AGGREGATION = service_board(
    "aggregation",
    "From ticks to bars, and bars of late ticks.",
    [
        Panel(
            "Bars",
            "Bars sent a second, open ones and revisions included.",
            [(f"sum by (interval) (rate(bars_generated_total{RATE}))", "{{interval}}")],
            unit="ops",
            alerts=["BarsStopped"],
        ),
        Panel(
            "Open windows",
            "Windows in memory whose end has not passed.",
            [("sum by (interval) (bar_windows_open)", "{{interval}}")],
        ),
        Panel(
            "Windows by state",
            "Windows in memory.",
            [("sum by (interval, state) (bar_windows_by_state)", "{{interval}} {{state}}")],
            stack=True,
        ),
        Panel(
            "Revisions",
            "Ticks a second that the stream counted after the close of their window.",
            [(f"sum by (interval) (rate(bar_revisions_total{RATE}))", "{{interval}}")],
            unit="ops",
        ),
        Panel(
            "Late ticks",
            "Ticks a second that reach a bar through the table, and bars that the table closes.",
            [
                (f"sum(rate(ticks_late_total{RATE}))", "late ticks"),
                (f"sum(rate(bar_closings_by_table_total{RATE}))", "closings by table"),
            ],
            unit="ops",
            alerts=["LateTicksMany"],
        ),
        Panel(
            "Curves",
            "Quotes of curves and snapshots a second.",
            [
                (f"sum(rate(curve_quotes_sent_total{RATE}))", "quotes"),
                (f"sum(rate(curve_snapshots_total{RATE}))", "snapshots"),
                (f"sum(rate(curve_snapshots_contradictory_total{RATE}))", "snapshots with contradictory quotes"),
            ],
            unit="ops",
            alerts=["CurveSnapshotsStopped"],
        ),
        Panel(
            "Contradictory quotes",
            "Largest residual of a quote in the newest snapshots of all curves, as a part of the price.",
            [("max by (instance) (curve_residual_ratio)", "{{instance}}")],
            unit="percentunit",
            warn=0.01,
            alerts=["CurveQuotesContradict"],
        ),
        Panel(
            "Derived series",
            "Values a second, and prices and times without one.",
            [
                (f"sum(rate(derived_prices_total{RATE}))", "values"),
                (f"sum by (reason) (rate(derived_values_skipped_total{RATE}))", "{{reason}}"),
            ],
            unit="ops",
            alerts=["DerivedLegsStale"],
        ),
        Panel(
            "Bars computed again",
            "Bars a second that were computed from the table.",
            [(f"sum by (interval) (rate(restate_windows_total{RATE}))", "{{interval}}")],
            unit="ops",
        ),
        Panel(
            "Bars waiting",
            "Windows of late ticks whose bars are still to be computed.",
            [("restate_windows_waiting", "{{instance}}")],
            warn=100000,
            alerts=["RestateBacklog"],
        ),
        Panel(
            "Delay of late ticks",
            "From the raw append of a late tick to its bar.",
            [
                ("histogram_quantile(0.99, sum by (le) (rate(restate_delay_seconds_bucket[10m])))", "p99"),
                ("histogram_quantile(0.5, sum by (le) (rate(restate_delay_seconds_bucket[10m])))", "p50"),
            ],
            unit="s",
        ),
        Panel(
            "Statements of ClickHouse",
            "Time of one statement that computes bars.",
            [("histogram_quantile(0.99, sum by (le) (rate(restate_statement_seconds_bucket[10m])))", "p99")],
            unit="s",
            warn=1,
            alerts=["RestateStatementSlow"],
        ),
        Panel(
            "Bars without their late tick",
            "Windows of an hour that were not computed again.",
            [
                ("sum(increase(restate_expired_total[1h]))", "rows expired"),
                ("sum by (reason) (increase(restate_refused_total[1h]))", "{{reason}}"),
            ],
            warn=1,
            alerts=["RestateRefused", "RestateExpired"],
        ),
        Panel(
            "Checkpoints",
            "Checkpoints a minute that became durable.",
            [(f"60 * sum by (instance) (rate(aggregation_checkpoints_total{RATE}))", "{{instance}}")],
            alerts=["CheckpointsStopped"],
        ),
    ],
)

PROJECTION = service_board(
    "projection",
    "From ticks to the latest prices in PostgreSQL and Redis.",
    [
        Panel(
            "Lag",
            "Age of the oldest event that a store does not contain yet.",
            [("projection_lag_seconds", "{{projection}} {{instance}}")],
            unit="s",
            warn=300,
            critical=1800,
            alerts=["ProjectionLag"],
        ),
        Panel(
            "Stores writable",
            "1 while both stores respond and accept writes.",
            [("projection_status", "{{projection}} {{instance}}")],
            kind="state-timeline",
            values={0: ("not writing", "red"), 1: ("writing", "green")},
            alerts=["ProjectionNotWriting"],
        ),
        Panel(
            "Prices written",
            "Latest prices a second, by store.",
            [(f"sum by (store) (rate(projections_updated_total{RATE}))", "{{store}}")],
            unit="ops",
        ),
        Panel(
            "Raw append to latest price",
            "From the raw append to both stores.",
            [
                (quantile(0.99, "end_to_end_latency_seconds", "stage", '{stage="latest_price"}'), "p99"),
                (quantile(0.5, "end_to_end_latency_seconds", "stage", '{stage="latest_price"}'), "p50"),
            ],
            unit="s",
            warn=2,
            alerts=["EndToEndSlow", "LatencyBudgetBurns"],
        ),
        Panel(
            "Conflicts and refills",
            "Commits that met a moved position, and refills of Redis, in 15 minutes.",
            [
                ("sum(increase(projection_conflicts_total[15m]))", "conflicts"),
                ("sum(increase(projection_refills_total[15m]))", "refills"),
            ],
            warn=10,
            alerts=["ProjectionConflicts"],
        ),
        Panel(
            "Keys evicted by Redis",
            "Since Redis started.",
            [("max(redis_evicted_keys)", "keys")],
            critical=1,
            alerts=["RedisEvictsPrices"],
        ),
    ],
    pool=True,
    writes=False,
)

MARKETS = Board(
    "data-processing-markets",
    "Data processing: markets and data quality",
    "Freshness, completeness and plausibility of the ticks of each market.",
    [
        Panel(
            "Age of the newest message",
            "Seconds since the raw append of the newest tick of each market in ClickHouse.",
            sql="SELECT market, dateDiff('second', max(appended_at), now64(6)) AS age FROM market_ticks WHERE ingested_at > now() - INTERVAL 1 DAY GROUP BY market ORDER BY age DESC",
            kind="bargauge",
            unit="s",
            warn=600,
            critical=1200,
            alerts=["MarketSilent"],
        ),
        Panel(
            "Flags by market",
            "Flags a second. Every tick has at least one.",
            [("market:quality_flags:rate15m", "{{market}}")],
            unit="ops",
            alerts=["MarketSilent"],
        ),
        Panel(
            "Ticks by market and product",
            "Ticks of the selected time by append time of their raw message.",
            sql="SELECT $__timeInterval(appended_at) AS time, concat(market, ' ', product) AS series, count() AS ticks FROM market_ticks "
            "WHERE $__timeFilter(appended_at) AND $__timeFilter(ingested_at) GROUP BY time, series ORDER BY time",
        ),
        Panel(
            "Flags of the selected markets",
            "Flags a second.",
            [(f'sum by (flag) (rate(quality_flags_total{{market=~"$market"}}{RATE}))', "{{flag}}")],
            unit="ops",
        ),
        Panel(
            "Implausible values",
            "Share of the flags that report implausible prices or quotes.",
            [
                (
                    'sum by (market) (rate(quality_flags_total{market=~"$market",flag=~"price_spike|out_of_range|component_mismatch|crossed_market|missing_quote"}[15m])) / market:quality_flags:rate15m',
                    "{{market}}",
                )
            ],
            unit="percentunit",
            warn=0.2,
            alerts=["MarketQualityLow"],
        ),
        Panel(
            "Flagged ticks by instrument",
            "The instruments with the most flagged ticks of the selected time.",
            sql="SELECT market, instrument_id, count() AS ticks, countIf(NOT has(quality_flags, 'valid')) AS flagged, arrayStringConcat(arraySort(groupUniqArrayArray(quality_flags)), ', ') AS flags "
            "FROM market_ticks WHERE $__timeFilter(ingested_at) GROUP BY market, instrument_id ORDER BY flagged DESC LIMIT 20",
            kind="table",
        ),
        Panel(
            "Intervals complete",
            "Interval prices present, as a share of those expected: instruments of the market and product, times the intervals of an hour.",
            sql="SELECT hour AS time, concat(market, ' ', product) AS series, "
            "count() / (any(instruments) * multiIf(product = 'rt5', 12, product = 'rt15', 4, 1)) AS share FROM "
            "(SELECT DISTINCT market, product, instrument_id, timestamp, toStartOfHour(timestamp) AS hour FROM market_ticks WHERE kind = 'interval' AND $__timeFilter(timestamp)) AS prices "
            "INNER JOIN (SELECT market, product, uniqExact(instrument_id) AS instruments FROM market_ticks WHERE kind = 'interval' AND $__timeFilter(timestamp) GROUP BY market, product) AS expected "
            "USING (market, product) GROUP BY time, market, product ORDER BY time",
            kind="status-history",
            unit="percentunit",
            warn=1,
            critical=0.9,
            low_is_bad=True,
            width=16,
        ),
        Panel(
            "Hourly reports against fine prices",
            "Hours of nodes of which a price came within a day: whether the hourly price is the mean of the fine prices.",
            [
                (
                    'max by (market, pair, result) (market_check_hours{market=~"$market"})',
                    "{{market}} {{pair}} {{result}}",
                )
            ],
            alerts=["MarketMeansDiffer"],
        ),
        Panel(
            "Largest difference of an hourly price",
            "USD, of these hours: the hourly price and the mean of the fine prices of a node.",
            [('max by (market, pair) (market_check_difference{market=~"$market"})', "{{market}} {{pair}}")],
            alerts=["MarketMeansDiffer"],
        ),
        Panel(
            "Repetitions",
            "Share of the parsed ticks that repeat an event.",
            [
                (
                    f'sum(rate(normalization_ticks_total{{outcome="duplicate"}}{RATE})) / sum(rate(normalization_ticks_total{RATE}))',
                    "share",
                )
            ],
            unit="percentunit",
        ),
        Panel(
            "Open dead letters",
            "Dead letters of all stages that are neither replayed nor expired.",
            [("max by (topic) (dlq_size)", "{{topic}}")],
            warn=10,
            critical=100,
            alerts=["DeadLettersOpen"],
        ),
        Panel(
            "Age of the oldest dead letter",
            "Age of the oldest dead letter that is neither replayed nor expired.",
            [("max by (topic) (dlq_oldest_message_age_seconds)", "{{topic}}")],
            unit="s",
            warn=600,
            critical=3600,
            alerts=["DeadLetterOld"],
        ),
        Panel(
            "Dead letters by code",
            "Dead letters of normalization in an hour, the ten most frequent codes.",
            [('topk(10, sum by (error_code) (increase(dlq_messages_total{stage="normalize"}[1h])))', "{{error_code}}")],
            warn=10,
            critical=100,
            alerts=["DeadLettersMany"],
        ),
        Panel(
            "Late ticks",
            "Share of the ticks that are too late for their bars in the stream.",
            [
                (
                    f'sum(rate(ticks_late_total{RATE})) / sum(rate(messages_processed_total{{service="aggregation",topic=~"enriched[.].*"}}{RATE}))',
                    "share",
                )
            ],
            unit="percentunit",
            warn=0.2,
            alerts=["LateTicksMany"],
        ),
        Panel(
            "Rows stored",
            "Rows of the last hour in each table, relative to the ticks that normalization sent.",
            [("table:rows_written:ratio_increase1h", "{{table}}")],
            unit="percentunit",
            warn=0.99,
            critical=0.98,
            low_is_bad=True,
            kind="stat",
            alerts=["RowsMissing"],
        ),
        Panel(
            "Differences",
            "What the last `dp verify` found lost, doubled or wrong. An undecided run does not count.",
            [("max(verify_last_differences)", "differences")],
            kind="stat",
            critical=1,
            width=4,
            alerts=["VerifyFailed"],
        ),
        Panel(
            "Last success of verify",
            "Time since the last `dp verify` without a difference.",
            [("time() - max(verify_last_success_timestamp_seconds)", "age")],
            kind="stat",
            unit="s",
            warn=26 * 3600,
            width=4,
            alerts=["VerifyMissing"],
        ),
        Panel(
            "Classification",
            "Ticks of the selected time by commodity and source of their reference data.",
            sql="SELECT commodity, region, classification_method, count() AS ticks, round(avg(classification_confidence), 2) AS confidence FROM enriched_ticks "
            "WHERE $__timeFilter(ingested_at) GROUP BY commodity, region, classification_method ORDER BY ticks DESC",
            kind="table",
            alerts=["LowConfidenceMany"],
        ),
    ],
    [variable("market", "Market", "label_values(quality_flags_total, market)", PROMETHEUS, multi=True)],
)

# The bars of one instrument: the newest version of each.
BARS = (
    "FROM bars_latest WHERE tenant_id = ${tenant:sqlstring} AND instrument_id = ${instrument:sqlstring} "
    "AND interval = ${interval:sqlstring} AND $__timeFilter(window_start) ORDER BY time"
)
OF_INSTRUMENT = "tenant_id = ${tenant:sqlstring} AND instrument_id = ${instrument:sqlstring}"

ANALYSTS = Board(
    "data-processing-analysts",
    "Data processing: bars and prices",
    "Bars, prices and their completeness, from ClickHouse.",
    [
        Panel(
            "Bars",
            "Open, high, low and close of each bar, and its volume.",
            sql=f"SELECT window_start AS time, toFloat64(open) AS open, toFloat64(high) AS high, toFloat64(low) AS low, toFloat64(close) AS close, toFloat64(volume) AS volume {BARS}",
            kind="candlestick",
            width=24,
            height=12,
        ),
        Panel("Volume", "Volume of each bar.", sql=f"SELECT window_start AS time, toFloat64(volume) AS volume {BARS}"),
        Panel(
            "VWAP and close",
            "Volume-weighted average price, and close.",
            sql=f"SELECT window_start AS time, toFloat64(vwap) AS vwap, toFloat64(close) AS close {BARS}",
        ),
        Panel("Ticks", "Ticks of each bar.", sql=f"SELECT window_start AS time, trade_count AS ticks {BARS}"),
        Panel(
            "Revisions", "Ticks that were applied to a bar after its close.", sql=f"SELECT window_start AS time, revision {BARS}"
        ),
        Panel(
            "Bid and ask",
            "Mean quotes of the ticks.",
            sql=f"SELECT $__timeInterval(timestamp) AS time, avg(bid) AS bid, avg(ask) AS ask, avg(price) AS price FROM market_ticks WHERE {OF_INSTRUMENT} AND $__timeFilter(timestamp) GROUP BY time ORDER BY time",
        ),
        Panel(
            "Bars revised",
            "Bars of the selected time that have been corrected, by interval, all instruments of the market.",
            sql="SELECT interval, count() AS bars, countIf(revision > 0) AS revised, max(revision) AS most_revisions FROM bars_latest "
            "WHERE tenant_id = ${tenant:sqlstring} AND market = ${market:sqlstring} AND $__timeFilter(window_start) GROUP BY interval ORDER BY bars DESC",
            kind="table",
        ),
        Panel(
            "Completeness",
            "Share of the bars of each hour that exist, of the instruments that have any bar in the selected time: 1 = a bar in every window.",
            sql="SELECT toStartOfHour(window_start) AS time, market, count() / (any(instruments) * multiIf(interval = '1m', 60, interval = '5m', 12, interval = '15m', 4, 1)) AS share FROM bars_latest "
            "INNER JOIN (SELECT market, uniqExact(instrument_id) AS instruments FROM bars WHERE tenant_id = ${tenant:sqlstring} AND interval = ${interval:sqlstring} AND $__timeFilter(window_start) GROUP BY market) AS expected USING (market) "
            "WHERE tenant_id = ${tenant:sqlstring} AND interval = ${interval:sqlstring} AND $__timeFilter(window_start) GROUP BY time, market, interval ORDER BY time",
            kind="status-history",
            unit="percentunit",
            warn=0.9,
            critical=0.5,
            low_is_bad=True,
            width=16,
        ),
        Panel(
            "Freshness by market",
            "Seconds since the event time of the newest tick that is not in the future.",
            sql="SELECT market, dateDiff('second', max(timestamp), now64(6)) AS age FROM market_ticks WHERE tenant_id = ${tenant:sqlstring} AND timestamp <= now64(6) AND ingested_at > now() - INTERVAL 1 DAY GROUP BY market ORDER BY age DESC",
            kind="bargauge",
            unit="s",
            warn=600,
            critical=1200,
            alerts=["MarketSilent"],
        ),
        Panel(
            "Newest ticks",
            "The newest ticks of the instrument, with the origin that `dp explain row` accepts.",
            sql=f"SELECT timestamp, price, volume, product, arrayStringConcat(quality_flags, ', ') AS flags, tick_id FROM market_ticks WHERE {OF_INSTRUMENT} ORDER BY timestamp DESC LIMIT 50",
            kind="table",
            width=16,
        ),
        Panel(
            "Late ticks",
            "Ticks of the instrument that came too late for the stream, and the intervals of the bars that they changed.",
            sql=f"SELECT timestamp, price, volume, arrayStringConcat(intervals, ', ') AS late_for, watermark FROM late_ticks WHERE {OF_INSTRUMENT} ORDER BY timestamp DESC LIMIT 50",
            kind="table",
        ),
    ],
    [
        variable("tenant", "Tenant", "SELECT DISTINCT tenant_id FROM bars ORDER BY tenant_id", CLICKHOUSE),
        variable(
            "market",
            "Market",
            "SELECT DISTINCT market FROM bars WHERE tenant_id = ${tenant:sqlstring} ORDER BY market",
            CLICKHOUSE,
        ),
        choice("interval", "Interval", ["5m", "1m", "15m", "1h", "1d"]),
        # The instruments with the most bars come first.
        variable(
            "instrument",
            "Instrument",
            "SELECT instrument_id FROM bars WHERE tenant_id = ${tenant:sqlstring} AND market = ${market:sqlstring} AND interval = ${interval:sqlstring} "
            "AND window_end > now() - INTERVAL 1 DAY GROUP BY instrument_id ORDER BY count() DESC LIMIT 1000",
            CLICKHOUSE,
        ),
    ],
    span="now-6h",
)

STORES = Board(
    "data-processing-stores",
    "Data processing: stores and machines",
    "Kafka, ClickHouse, PostgreSQL, Redis, the machines and the containers.",
    [
        Panel(
            "Targets",
            "What Prometheus reaches, by job.",
            [("min by (job) (up)", "{{job}}")],
            kind="stat",
            warn=1,
            low_is_bad=True,
            width=24,
            height=5,
            alerts=["TargetDown"],
        ),
        Panel(
            "Kafka: replicas out of sync",
            "Partitions with fewer replicas in sync than they should have.",
            [("sum(kafka_topic_partition_under_replicated_partition)", "partitions")],
            critical=1,
            alerts=["KafkaUnderReplicated"],
        ),
        Panel(
            "Kafka: messages",
            "Messages appended a second by topic.",
            [(f"sum by (topic) (rate(kafka_topic_partition_current_offset{RATE}))", "{{topic}}")],
            unit="ops",
        ),
        Panel("Kafka: brokers", "Brokers in the cluster.", [("kafka_brokers", "brokers")], kind="stat"),
        Panel(
            "ClickHouse: disk",
            "Free share of the data disk.",
            [("ClickHouseAsyncMetrics_DiskAvailable_default / ClickHouseAsyncMetrics_DiskTotal_default", "{{instance}}")],
            unit="percentunit",
            warn=0.15,
            critical=0.05,
            low_is_bad=True,
            alerts=["ClickHouseDiskLow"],
        ),
        Panel(
            "ClickHouse: parts",
            "Most parts of one partition. Inserts are delayed from 1,000 on.",
            [("ClickHouseAsyncMetrics_MaxPartCountForPartition", "{{instance}}")],
            warn=300,
            critical=1000,
            alerts=["ClickHousePartsMany"],
        ),
        Panel(
            "ClickHouse: time of an insert",
            "90th percentile of the time until an insert is confirmed, by table.",
            [(quantile(0.9, "clickhouse_insert_seconds", "table"), "{{table}}")],
            unit="s",
            warn=5,
            alerts=["ClickHouseInsertsSlow"],
        ),
        Panel(
            "ClickHouse: memory",
            "Memory that the server accounts for.",
            [("ClickHouseMetrics_MemoryTracking", "{{instance}}")],
            unit="bytes",
        ),
        Panel(
            "ClickHouse: tables",
            "Rows, bytes on disk and parts of each table.",
            sql="SELECT table, sum(rows) AS stored_rows, sum(bytes_on_disk) AS size, count() AS parts FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table ORDER BY size DESC",
            kind="table",
            width=16,
        ),
        Panel(
            "ClickHouse: disks",
            "Free and total space.",
            sql="SELECT name, free_space, total_space, free_space / total_space AS free_share FROM system.disks",
            kind="table",
        ),
        Panel(
            "ClickHouse: takeovers",
            "Claims of writers by hour. Each restart or rebalance claims every partition again.",
            sql="SELECT toStartOfHour(claimed_at) AS time, topic, count() AS claims FROM writer_fence WHERE $__timeFilter(claimed_at) GROUP BY time, topic ORDER BY time",
            alerts=["FencedWritesMany"],
        ),
        Panel(
            "PostgreSQL: connections",
            "Connections by state, and how many are permitted.",
            [("sum by (state) (pg_stat_activity_count)", "{{state}}"), ("max(pg_settings_max_connections)", "permitted")],
            alerts=["PostgresDown", "PostgresConnectionsNearlyFull"],
        ),
        Panel(
            "PostgreSQL: transactions",
            "Commits and rollbacks a second.",
            [
                (f'sum(rate(pg_stat_database_xact_commit{{datname="db"}}{RATE}))', "commits"),
                (f'sum(rate(pg_stat_database_xact_rollback{{datname="db"}}{RATE}))', "rollbacks"),
            ],
            unit="ops",
        ),
        Panel(
            "PostgreSQL: size", "Size of the database.", [('pg_database_size_bytes{datname="db"}', "{{datname}}")], unit="bytes"
        ),
        Panel(
            "Redis: memory",
            "Memory used.",
            [("redis_memory_used_bytes", "{{instance}}")],
            unit="bytes",
            alerts=["RedisDown", "RedisMemoryHigh"],
        ),
        Panel(
            "Redis: commands",
            "Commands a second.",
            [(f"sum by (instance) (rate(redis_commands_processed_total{RATE}))", "{{instance}}")],
            unit="ops",
        ),
        Panel("Redis: keys", "Keys.", [('redis_db_keys{db="db0"}', "{{instance}}")], alerts=["RedisEvictsPrices"]),
        Panel(
            "Machines: CPU",
            "Share of the processor time in use.",
            [(f'1 - avg by (instance) (rate(node_cpu_seconds_total{{mode="idle"}}{RATE}))', "{{instance}}")],
            unit="percentunit",
            top=1,
        ),
        Panel(
            "Machines: memory",
            "Share of the memory in use.",
            [("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", "{{instance}}")],
            unit="percentunit",
            top=1,
        ),
        Panel(
            "Machines: disks",
            "Free share of each disk.",
            [
                (
                    'node_filesystem_avail_bytes{fstype!~"tmpfs|overlay|squashfs"} / node_filesystem_size_bytes',
                    "{{instance}} {{mountpoint}}",
                )
            ],
            unit="percentunit",
            warn=0.3,
            critical=0.1,
            low_is_bad=True,
            alerts=["DiskFilling"],
        ),
        Panel(
            "Containers: CPU",
            "Processor cores in use.",
            [(f'sum by (name) (rate(container_cpu_usage_seconds_total{{name!=""}}{RATE}))', "{{name}}")],
        ),
        Panel(
            "Containers: memory",
            "Memory that counts towards the limit.",
            [('container_memory_working_set_bytes{name!=""}', "{{name}}")],
            unit="bytes",
        ),
        Panel(
            "Rules",
            "Time that Prometheus takes for each group of rules.",
            [("prometheus_rule_group_last_duration_seconds", "{{rule_group}}")],
            unit="s",
            alerts=["PrometheusConfigInvalid", "RuleEvaluationFailing"],
        ),
        Panel(
            "Notifications",
            "Notifications that Alertmanager sent in an hour.",
            [("sum by (integration) (increase(alertmanager_notifications_total[1h]))", "{{integration}}")],
            alerts=["NotificationsFailing"],
        ),
    ],
)

RUNBOOK_BOARD = Board(RUNBOOKS, "Data processing: runbooks", "One page for each alert.", [], listed=False)

SERVICE_BOARDS = [NORMALIZATION, ENRICHMENT, AGGREGATION, PROJECTION]
BOARDS = [OVERVIEW, *SERVICE_BOARDS, MARKETS, ANALYSTS, STORES, RUNBOOK_BOARD]


def files():
    """Path below monitoring/grafana → content. The overview exists twice: provisioned, and with the wrapper of the HTTP API."""
    texts = {name: path.read_text().split("\n", 1)[1].strip() + "\n" for name, path in sources.runbooks().items()}
    pages = {name: number for number, name in enumerate(texts, 1)}
    for name, text in texts.items():
        text = re.sub(r"\]\((\w+)\.md\)", lambda m: f"](/d/{RUNBOOKS}?viewPanel={pages[m[1]]})", text)
        texts[name] = re.sub(r"\[([^\]]+)\]\(\.\./\w+\.md\)", r"\1", text)
    boards = {b.uid: runbook_json(b, texts) if b is RUNBOOK_BOARD else board_json(b, pages) for b in BOARDS}
    written = {f"dashboards/provisioned/{uid}.json": board for uid, board in boards.items()}
    # A dashboard that is provisioned cannot be saved through the API, so the imported one has a uid of its own.
    imported = copy.deepcopy(boards[OVERVIEW.uid]) | {"uid": f"{OVERVIEW.uid}-import", "editable": True}
    written[f"dashboards/{OVERVIEW.uid}.json"] = {
        "dashboard": imported,
        "overwrite": True,
        "message": "data-processing-overview.json",
    }
    return {path: json.dumps(content, indent=1, ensure_ascii=False) + "\n" for path, content in written.items()}
