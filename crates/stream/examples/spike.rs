#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
use stream::hop::*;
use stream::*;
struct Copy(u64);
impl Stage for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }
    fn process(&mut self, m: &Message<'_>, out: &mut StageOutput) -> Result<Verdict, StreamError> {
        self.0 += 1;
        out.push(m.partition, &[m.key.unwrap_or_default()], |b| {
            b.extend_from_slice(m.payload.unwrap_or_default());
            Ok::<(), StreamError>(())
        })?;
        Ok(Verdict::Done)
    }
    fn memory(&self) -> Option<Memory> {
        Some(Memory {
            micros: 300_000_000,
            offsets: 1000,
        })
    }
}
fn main() {
    tracing_subscriber();
    let args: Vec<String> = std::env::args().collect();
    let bootstrap = "127.0.0.1:19592".to_string();
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let spec = |n: &str| kafka::admin::TopicSpec {
        name: n.into(),
        partitions: 4,
        replication: 1,
        config: vec![
            ("message.timestamp.type".into(), "LogAppendTime".into()),
            ("max.message.bytes".into(), "67200000".into()),
        ],
    };
    println!(
        "created {:?}",
        rt.block_on(kafka::admin::create_topics(
            &bootstrap,
            &[spec("in"), spec("out"), spec("dlq")]
        ))
        .unwrap()
    );
    println!(
        "{:?}",
        kafka::describe::describe_topics(
            &bootstrap,
            &["in".into(), "out".into()],
            std::time::Duration::from_secs(5)
        )
        .unwrap()
    );
    println!(
        "{:?}",
        kafka::describe::describe_topics(&bootstrap, &["nope".into()], std::time::Duration::from_secs(5))
    );
    let shutdown = Shutdown::default();
    let n: usize = args.get(1).map_or(1, |s| s.parse().unwrap());
    let secs: u64 = args.get(2).map_or(20, |s| s.parse().unwrap());
    let mut hs = vec![];
    for i in 0..n {
        let c = WorkerConfig {
            service: "spike".into(),
            bootstrap: bootstrap.clone(),
            group: "spike".into(),
            topics: vec!["in".into()],
            client_id: format!("spike-{i}"),
            dlq_topic: "dlq".into(),
            drain_timeout: std::time::Duration::from_secs(5),
        };
        let st = WorkerStatus::new(format!("w{i}"));
        let s2 = st.clone();
        let sh = shutdown.clone();
        hs.push((st, std::thread::spawn(move || run_w(&c, &s2, &sh))));
    }
    for s in 0..secs {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let tot: u64 = hs.iter().map(|h| h.0.messages()).sum();
        println!(
            "{s} {tot} {:?}",
            hs.iter()
                .map(|h| (h.0.state(), h.0.assigned().len()))
                .collect::<Vec<_>>()
        );
    }
    shutdown.request();
    let t = std::time::Instant::now();
    for h in hs {
        println!("{:?}", h.1.join());
    }
    println!("down {:?}", t.elapsed());
}
fn run_w(c: &WorkerConfig, s: &WorkerStatus, sh: &Shutdown) -> Result<(), StreamError> {
    worker::run(c, s, sh, || Ok(Box::new(Hop::new(Copy(0), "out".into()))))
}
fn tracing_subscriber() {}
