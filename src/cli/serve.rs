//! Start and stop of the server.
//!
//! Start: flags, log, configuration, listeners (health answers from here on), database, then
//! remote write, scraping and rules. Stop, on SIGTERM, SIGINT or `/-/quit`: `/-/ready` says no,
//! rules and scraping end, requests under way get a moment, receivers of remote write take what
//! waits for them, the database syncs and lets its folder go. Each step of the stop has a limit,
//! so that all of it takes less than two seconds, unless a receiver is slow: it has the time of
//! `--storage.remote.flush-deadline`, and one that refuses is not waited for.
//!
//! Exit status, as Prometheus has it: 0 after a stop, 1 when something fails at run time, 2 for
//! a command line or a configuration that is wrong, 3 for a flag of the other mode.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::auto_reload::AutoReload;
use super::check;
use super::flags::Flags;
use super::process::{
    Process, Request, Scraping, log_remarks, open_query_log, read_config, remote_sources,
};
use super::rules::load_rules;
use super::settings::Settings;
use super::tool;
use super::tracing::Tracing;
use crate::db::Database;
use crate::discovery::Discovery;
use crate::disk::StorageError;
use crate::http::query_log::ActiveQueries;
use crate::http::{self, Service};
use crate::remote::send::{self, Senders};
use crate::scrape::Manager;
use crate::telemetry::log;

/// Something failed at run time.
const EXIT_FAILURE: u8 = 1;
/// The command line or the configuration is wrong.
const EXIT_USAGE: u8 = 2;

/// How long an opening under way is waited for.
const OPENING_GRACE: Duration = Duration::from_millis(500);
/// How long scrapes under way are waited for.
const SCRAPING_GRACE: Duration = Duration::from_millis(300);
/// How long rules under way are waited for.
const RULES_GRACE: Duration = Duration::from_millis(300);
/// How long alerts that wait may take to be sent.
const NOTIFYING_GRACE: Duration = Duration::from_millis(700);
/// How long traces that wait may take to be sent.
const TRACING_GRACE: Duration = Duration::from_millis(500);
/// How long scraping waits for remote write to begin.
const SENDING_GRACE: Duration = Duration::from_secs(5);
/// How long the HTTP server may take to end its connections.
const HTTP_GRACE: Duration = Duration::from_millis(700);
/// How long the runtime waits for what is left.
const RUNTIME_GRACE: Duration = Duration::from_millis(100);

/// Runs the server under this command line until it is told to stop. Gives the exit status.
pub fn run<I: IntoIterator<Item = OsString>>(line: I) -> ExitCode {
    let line: Vec<OsString> = line.into_iter().collect();
    if line.get(1).is_some_and(|word| word == "tool") {
        return tool::run(&line);
    }
    if line.get(1).is_some_and(|word| word == "check") {
        return check::run(&line);
    }
    let flags = match Flags::parse(line) {
        Ok(flags) => flags,
        Err(error) if error.is_answer() => {
            // A reader that went away wants no more.
            let _ = write!(std::io::stdout(), "{error}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let _ = write!(std::io::stderr(), "{error}");
            return ExitCode::from(error.exit_code);
        }
    };
    if let Err(error) = install_log(&flags) {
        let _ = writeln!(std::io::stderr(), "error: {error}");
        return ExitCode::from(EXIT_USAGE);
    }
    let settings = Settings::new(flags);
    if let Err(error) = settings.external_url() {
        tracing::error!(err = %error, "The command line is wrong");
        return ExitCode::from(EXIT_USAGE);
    }
    if let Some(error) = settings.features_fault() {
        tracing::error!(err = %error, "The command line is wrong");
        return ExitCode::from(EXIT_FAILURE);
    }
    ExitCode::from(run_with(&settings))
}

fn install_log(flags: &Flags) -> Result<(), log::LogError> {
    log::install(flags.text("log.level").parse()?, flags.text("log.format").parse()?)
}

fn run_with(settings: &Settings) -> u8 {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "Starting Narthex");
    for remark in settings.remarks() {
        tracing::warn!("{remark}");
    }
    let auto_reload = AutoReload::new(settings);
    let config = match read_config(settings) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(err = %error, "Loading the configuration failed");
            return EXIT_USAGE;
        }
    };
    let rules = match load_rules(settings, &config) {
        Ok(rules) => rules,
        Err(error) => {
            tracing::error!(err = %error, "Loading the rule files failed");
            return EXIT_USAGE;
        }
    };
    if let Some(path) = &settings.config_file {
        tracing::info!(file = %path.display(), "Configuration loaded");
    } else {
        tracing::info!("No prometheus.yml here: scraping this server itself");
    }
    if let Err(error) = Tracing::prepare(&config) {
        tracing::error!(err = %error, "Loading the configuration failed");
        return EXIT_USAGE;
    }
    let refusal = settings.refusal(&config);
    if let Err(error) = refusal.map_or_else(|| send::check(&config.remote_write_configs), Err) {
        tracing::error!(err = %error, "Loading the configuration failed");
        return EXIT_USAGE;
    }
    log_remarks(&config);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(err = %error, "Starting the runtime failed");
            return EXIT_FAILURE;
        }
    };
    let (requests, inbox) = mpsc::unbounded_channel();
    let process = Arc::new(Process::new(
        settings.clone(),
        config,
        requests,
        auto_reload,
        runtime.handle().clone(),
    ));
    process.apply_rules(rules);
    let code = run_in(&runtime, settings, &process, inbox);
    runtime.shutdown_timeout(RUNTIME_GRACE);
    code
}

fn run_in(
    runtime: &Runtime,
    settings: &Settings,
    process: &Arc<Process>,
    inbox: mpsc::UnboundedReceiver<Request>,
) -> u8 {
    let outcome = runtime.block_on(async {
        // From here on a signal is not the end, but a request for it.
        let signals = Signals::new().map_err(|error| format!("catching signals: {error}"))?;
        let listeners = http::bind(&settings.listen).await.map_err(|error| error.to_string())?;
        let actual = listeners.iter().filter_map(|listener| listener.local_addr().ok());
        let settings = &settings.listening_on(actual.map(|address| address.to_string()).collect());
        serve(settings, process, listeners, signals, inbox).await
    });
    match outcome {
        Ok(()) => {
            tracing::info!("See you next time!");
            0
        }
        Err(why) => {
            tracing::error!(err = %why, "Narthex cannot go on");
            EXIT_FAILURE
        }
    }
}

/// What the process is told from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

async fn serve(
    settings: &Settings,
    process: &Arc<Process>,
    listeners: Vec<TcpListener>,
    mut signals: Signals,
    mut inbox: mpsc::UnboundedReceiver<Request>,
) -> Result<(), String> {
    let engine = settings.engine(&process.config());
    let control: Arc<dyn http::Control> = process.clone();
    let service = Arc::new(Service::new(settings.http(), engine, control));
    service.set_query_log(open_query_log(&process.config())?);
    service.set_remote_sources(remote_sources(&process.config())?);
    // Set once, here.
    let _ = process.service.set(Arc::downgrade(&service));
    process.tracing.apply(Tracing::prepare(&process.config())?);
    settings.show_query_limits(&process.metrics, &process.config());
    for address in listeners.iter().filter_map(|listener| listener.local_addr().ok()) {
        tracing::info!(%address, "Listening");
    }
    let guard = match settings.web_config_file() {
        None => None,
        Some(path) => {
            let guard = http::Guard::open(&path).map_err(|error| error.to_string())?;
            tracing::info!(file = %path.display(), tls = guard.speaks_tls(), "Web configuration");
            Some(Arc::new(guard))
        }
    };
    let (stop, stopping) = watch::channel(false);
    let server = tokio::spawn(http::serve(listeners, Arc::clone(&service), guard, stopping));

    let mut opening = open(settings, process);
    let (opened, is_told) = tokio::select! {
        opened = &mut opening => (Some(opened), false),
        () = told_to_stop(process, &mut signals, &mut inbox) => {
            (tokio::time::timeout(OPENING_GRACE, &mut opening).await.ok(), true)
        }
    };
    let Some(opened) = opened else {
        // An opening that the end of the process breaks off loses nothing.
        tracing::warn!("The database was still being opened");
        return Ok(());
    };
    let database = opened
        .map_err(|error| format!("opening the database broke off: {error}"))?
        .map_err(|error| format!("opening the database: {error}"))?;
    if is_told {
        return stop_all(process, &stop, server, None, database).await;
    }
    note_running_queries(settings, &service);
    process.start_notifying()?;
    service.set_ready(database.clone());
    process.database_is_open();
    tracing::info!("Ready to answer queries");
    start_sending(settings, process, &database).await;
    let following = start_scraping(settings, process, &database);
    process.start_rules(&database);
    told_to_stop(process, &mut signals, &mut inbox).await;
    service.set_stopping();
    stop_all(process, &stop, server, Some(following), database).await
}

/// Has running queries noted in the data folder, and tells which ones ran when the process died.
fn note_running_queries(settings: &Settings, service: &Service) {
    match ActiveQueries::open(&settings.data, settings.http().queries_max) {
        Ok((active, unfinished)) => {
            if !unfinished.is_empty() {
                tracing::warn!(queries = %unfinished, "Queries were running when the server died");
            }
            service.set_active_queries(active);
        }
        // Queries are answered all the same.
        Err(error) => tracing::warn!(err = %error, "Running queries are not noted in a file"),
    }
}

fn open(settings: &Settings, process: &Arc<Process>) -> JoinHandle<Result<Database, StorageError>> {
    let mut options = settings.database(&process.config());
    options.observer = process.metrics.observer();
    let data = settings.data.clone();
    spawn_blocking(move || Database::open(data, options))
}

/// Begins to forward samples, before the first of them are stored.
async fn start_sending(settings: &Settings, process: &Arc<Process>, database: &Database) {
    let options = settings.sending(database);
    let known = Arc::downgrade(process);
    let metadata = move || known.upgrade().map(|p| p.known_metadata()).unwrap_or_default();
    let senders = Senders::new(database.clone(), options, Arc::new(metadata));
    // Set once, here.
    let _ = process.senders.set(senders);
    if let Some(begun) = process.apply_to_senders()
        && tokio::time::timeout(SENDING_GRACE, begun).await.is_err()
    {
        tracing::warn!("Remote write begins later: the log is still being read");
    }
}

fn start_scraping(
    settings: &Settings,
    process: &Arc<Process>,
    database: &Database,
) -> JoinHandle<()> {
    let manager = Manager::new(Arc::new(database.clone()), settings.scraping());
    let scraping = Scraping { discovery: Discovery::new(), manager };
    // Set once, here.
    let _ = process.scraping.set(scraping);
    process.apply_to_scraping();
    let process = Arc::clone(process);
    tokio::spawn(async move {
        if let Some(scraping) = process.scraping.get() {
            scraping.manager.run(scraping.discovery.subscribe()).await;
        }
    })
}

/// Returns when the process is to end; reloads in between.
async fn told_to_stop(
    process: &Arc<Process>,
    signals: &mut Signals,
    inbox: &mut mpsc::UnboundedReceiver<Request>,
) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => {
                tracing::warn!("Received SIGTERM, stopping");
                return;
            }
            _ = signals.interrupt.recv() => {
                tracing::warn!("Received SIGINT, stopping");
                return;
            }
            _ = signals.hang_up.recv() => {
                let process = Arc::clone(process);
                // Its outcome is logged and shown by the metrics.
                let _ = spawn_blocking(move || process.reload_config()).await;
            }
            () = process.time_to_look() => process.reload_if_changed().await,
            request = inbox.recv() => {
                if request.is_none_or(|request| request == Request::Quit) {
                    tracing::warn!("Asked to stop by HTTP request");
                    return;
                }
            }
        }
    }
}

async fn stop_all(
    process: &Process,
    stop: &watch::Sender<bool>,
    server: JoinHandle<()>,
    following: Option<JoinHandle<()>>,
    database: Database,
) -> Result<(), String> {
    // Connections end while the last scrapes do.
    stop.send_replace(true);
    if let Some(rules) = process.rules.get()
        && tokio::time::timeout(RULES_GRACE, rules.shutdown()).await.is_err()
    {
        tracing::warn!("Some rules did not end in time and are broken off");
    }
    if let Some(senders) = process.senders.get() {
        senders.refresh_metadata();
    }
    if let Some(scraping) = process.scraping.get() {
        let ended = tokio::time::timeout(SCRAPING_GRACE, scraping.manager.shutdown()).await;
        if ended.is_err() {
            tracing::warn!("Some scrapes did not end in time and are broken off");
        }
    }
    if let Some(following) = following {
        following.abort();
    }
    process.notifying.stop(NOTIFYING_GRACE).await;
    process.tracing.stop(TRACING_GRACE).await;
    if tokio::time::timeout(HTTP_GRACE, server).await.is_err() {
        tracing::warn!("Some connections did not end in time and are broken off");
    }
    if let Some(senders) = process.senders.get() {
        // What was stored to the last is forwarded, as far as receivers take it now.
        let synced = database.clone();
        if let Ok(Err(error)) = spawn_blocking(move || synced.sync()).await {
            tracing::warn!(err = %error, "The last samples are not on the disk");
        }
        senders.shutdown().await;
    }
    // Whatever is still under way finds the database closed.
    let closed = spawn_blocking(move || database.close()).await;
    closed
        .map_err(|error| format!("closing the database broke off: {error}"))?
        .map_err(|error| format!("closing the database: {error}"))
}
