//! `cargo xtask bench` as a user runs it: its lines, and other programs that answer, refuse, die, babble or keep silent.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("bench")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The JSON lines of a run that must succeed.
#[track_caller]
fn lines(args: &[&str]) -> Vec<Value> {
    let output = bench(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout).lines().map(|l| serde_json::from_str(l).expect(l)).collect()
}

/// The message of a run that must fail with this code, soon.
#[track_caller]
fn message(args: &[&str], code: i32) -> String {
    let begin = Instant::now();
    let output = bench(args);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    assert!(!message.contains("panicked"), "{args:?}: {message}");
    assert!(begin.elapsed() < Duration::from_secs(60), "{args:?} took {:?}", begin.elapsed());
    message
}

/// The fastest workload, one round.
const OP: &[&str] = &["--filter", "op_overhead", "--rounds", "1", "--threads", "1"];

fn op<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [OP, more].concat()
}

#[test]
fn the_list_names_every_workload_of_a_filter() {
    let output = bench(&["--list"]);
    let listed = text(&output.stdout);
    let names: Vec<&str> = listed.lines().filter_map(|l| l.split_whitespace().next()).collect();
    for name in ["gemm_256x8100x12544", "conv7x7_64_32_p16", "dw31_64_56", "sudoku_lp_p2"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    let some = text(&bench(&["--list", "--filter", "gemm", "--filter", "adamw"]).stdout);
    assert_eq!(some.lines().count(), 3, "{some}");
    // What runs on request only is there too, and says so.
    let marked = |name: &str| {
        let line = listed.lines().find(|l| l.starts_with(&format!("{name} "))).expect(name);
        line.contains("(only by --filter …")
    };
    for name in ["conv7x7_256_8_p8_dense", "conv3x3_64_32_winograd", "dw31_64_56_fft"] {
        assert!(marked(name), "{listed}");
    }
    assert!(!marked("dw31_64_56"), "{listed}");
    let pairs = text(&bench(&["--list", "--filter", "_p8"]).stdout);
    assert!(pairs.lines().any(|l| l.starts_with("conv7x7_256_8_p8_dense ")), "{pairs}");
    assert_eq!(pairs.lines().count(), 4, "{pairs}");
    let json = lines(&["--list", "--filter", "_p8", "--json"]);
    assert_eq!(json.len(), 4);
    for line in json {
        let name = line["name"].as_str().unwrap();
        assert!(
            pairs.lines().any(|l| l.contains(name) && l.contains(line["about"].as_str().unwrap()))
        );
        assert_eq!(line["on_request"], "_p8");
    }
    assert_eq!(lines(&["--list", "--filter", "gemm_bww", "--json"])[0]["on_request"], Value::Null);
}

#[test]
fn impossible_options_are_usage_errors() {
    let unknown = message(&["--filter", "gem_"], 2);
    assert!(
        unknown.contains("gem_: no such workload") && unknown.contains("adamw_57m"),
        "{unknown}"
    );
    let vague = message(&["--filter", "_dense"], 2);
    assert!(vague.contains("asked for more exactly: conv7x7_64_32_p4_dense, "), "{vague}");
    for n in ["0", "-1", "abc"] {
        let expected = format!("--threads {n}: expected a whole number from 1 to 1024");
        assert!(message(&["--threads", n], 2).contains(&expected), "{n}");
    }
    assert!(message(&["--versus", ""], 2).contains("--versus: expected a command"));
    assert!(message(&["--rounds", "0"], 2).contains("--rounds 0"));
    assert!(message(&["--timeout=-1"], 2).contains("--timeout"));
    for useless in [
        &["--serve", "--json"][..],
        &["--serve", "--rounds", "2"],
        &["--list", "--versus", "true"],
        &["--list", "--rounds", "2"],
        &["--list", "--threads", "2"],
        &["--list", "--timeout", "2"],
        &["--profile", "trace.json", "--timeout", "2"],
    ] {
        assert!(message(useless, 2).contains("cannot be used with"), "{useless:?}");
    }
    assert!(message(&["--filter", "x", "--filter"], 2).contains("--filter"));
}

#[test]
fn a_workload_is_a_line_of_json_or_a_row_of_a_table() {
    let json = lines(&op(&["--json"]));
    assert_eq!(json.len(), 1);
    assert_eq!(json[0]["workload"], "op_overhead");
    assert_eq!(json[0]["threads"], 1);
    let ms = json[0]["ms"].as_f64().unwrap();
    assert!(ms > 0.0 && ms < 1.0, "{ms} ms for 16 numbers");
    assert!(json[0].get("ratio").is_none(), "{}", json[0]);
    #[cfg(target_os = "linux")]
    for key in ["cpu_ms", "peak_rss_mib"] {
        assert!(json[0][key].as_f64().unwrap() > 0.0, "{}", json[0]);
    }
    let output = bench(OP);
    let table = text(&output.stdout);
    assert!(table.lines().any(|l| l.starts_with("op_overhead ")), "{table}");
    assert!(table.contains("GFLOP/s") && !table.contains('\x1b'), "{table}");
}

#[test]
#[cfg(unix)]
fn another_program_is_started_once_and_takes_turns() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let command = format!(
        "echo start >> {0}; while read n; do echo $n >> {0}; \
         echo '{{\"ms\": 500, \"cpu_ms\": 700, \"peak_rss_mib\": 9}}'; done; echo end >> {0}",
        log.display()
    );
    let args = ["--filter", "op_overhead", "--filter", "gemm_bww", "--rounds", "2", "--json"];
    let json = lines(&[&args[..], &["--versus", &command]].concat());
    assert_eq!(json.len(), 2);
    for line in &json {
        assert_eq!((&line["other_ms"], &line["other_cpu_ms"]), (&500.0.into(), &700.0.into()));
        assert_eq!(line["other_rss_mib"], 9.0);
        let [ms, ratio] = ["ms", "ratio"].map(|k| line[k].as_f64().unwrap());
        assert!((ratio - ms / 500.0).abs() < 1e-12, "{line}");
    }
    let log = std::fs::read_to_string(log).unwrap();
    let asked: Vec<&str> = log.lines().collect();
    let gemm = "gemm_bww_64x3136x1024";
    assert_eq!(asked, ["start", gemm, gemm, "op_overhead", "op_overhead", "end"]);

    let table = text(&bench(&op(&["--versus", &command])).stdout);
    assert!(table.contains("geometric mean") && table.contains("worst"), "{table}");
}

#[test]
#[cfg(unix)]
fn other_programs_that_fail_are_named_with_what_they_did() {
    for (command, expected) in [
        ("exit 3", "ended (exit status: 3) instead of answering op_overhead"),
        ("read n; exit 0", "ended (exit status: 0) instead of answering op_overhead"),
        ("no-such-program-anywhere", "ended (exit status: 127)"),
        ("read n; echo hello; read n", "expected one line of JSON"),
        ("read n; echo '{\"ms\": -1}'; read n", "ms must be a positive number"),
        (
            "read n; echo '{\"ms\": 1, \"workload\": \"other\"}'; read n",
            "that is the workload other",
        ),
        (
            "while read n; do echo '{\"error\": \"not today\"}'; done",
            "refused op_overhead: not today",
        ),
        ("exec >&-; read n; read n", "closed its standard output"),
        // Floods neither fill the memory nor count as answers.
        ("exec cat /dev/zero", "wrote 65536 bytes without an end of line"),
        ("exec yes '{\"ms\": 1}'", "before it was asked for op_overhead"),
        ("echo '{\"ms\": 1}'; read n; read n", "before it was asked for op_overhead"),
    ] {
        let message = message(&op(&["--versus", command]), 1);
        assert!(message.contains(expected), "{command}: {message}");
    }
    let silent = op(&["--timeout", "2", "--versus", "read n; read n; read n"]);
    let message = message(&silent, 1);
    assert!(message.contains("did not answer op_overhead within 2 seconds"), "{message}");
}

/// Two builds of this program can be compared: it answers the protocol itself.
#[test]
fn this_program_serves_too() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["bench", "--serve", "--threads", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"op_overhead\nnothing\nop_overhead\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let answers: Vec<Value> =
        text(&output.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(answers.len(), 3);
    assert!(answers[0]["ms"].as_f64().unwrap() > 0.0 && answers[2]["ms"].as_f64().unwrap() > 0.0);
    assert!(answers[1]["error"].as_str().unwrap().contains("no such workload"));
}
