//! Properties that hold for any log.

use proptest::prelude::*;

use super::*;

/// Lines of the OOM killer in any form, complete or cut, and arbitrary bytes.
fn any_line() -> impl Strategy<Value = Vec<u8>> {
    let number = 0_u32..12;
    let line =
        (0..11_u8, number.clone(), number, any::<Vec<u8>>()).prop_map(|(kind, a, b, bytes)| {
            let text = match kind {
                0 => invoked("t"),
                1 => oom_kill("/a", "v", a),
                2 | 3 => killed(a, "v"),
                4 => row(a, b),
                5 => group("/g"),
                6 => format!("Out of memory: Kill process {a} (x) score 1 or sacrifice child\n"),
                7 => "Task in /a killed as a result of limit of /b\n".to_owned(),
                8 => "CPU: 0 PID: 4 Comm: t Not tainted 5.4.1 #1\n".to_owned(),
                9 => ",cpuset=/,mems_allowed=0,global_oom".to_owned(),
                _ => return bytes,
            };
            text.trim_end().as_bytes().to_vec()
        });
    let cut = any::<prop::sample::Index>();
    (line, 0..4_u8, 0..3000_u64, cut).prop_map(|(line, form, milliseconds, cut)| {
        let line = if form == 3 {
            line[..cut.index(line.len() + 1)].to_vec()
        } else {
            line
        };
        let prefix = match form {
            0 => String::new(),
            1 => at(milliseconds, ""),
            _ => format!(
                "6,1,{milliseconds}000,{};",
                if form == 2 { '-' } else { 'c' }
            ),
        };
        [prefix.into_bytes(), line].concat()
    })
}

proptest! {
    #[test]
    fn any_bytes_are_accepted(bytes: Vec<u8>) {
        let _ = assemble_bytes(&bytes);
    }

    #[test]
    fn every_kill_line_gives_one_item(lines in proptest::collection::vec(any_line(), 0..40)) {
        let log = lines.join(&b'\n');
        let (items, counts) = assemble_bytes(&log);
        let rekills = items.iter().filter(|item| matches!(item, LogItem::Rekill { .. })).count();
        prop_assert_eq!(rekills as u64, counts.rekills);
        prop_assert_eq!(items.len() as u64, counts.kills + counts.rekills);
        for item in &items {
            if let LogItem::Kill(log_kill) = item {
                let kill = &log_kill.kill;
                prop_assert!(kill.oom_level.is_none_or(|level| level < kill.limits.len()));
                prop_assert!(log_kill.incident_number <= log_kill.number);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// State is bounded for any number of lines: a constant, and the last victims.
    #[test]
    fn memory_is_bounded(start in any_line(), repeats in 4200..5000_usize) {
        let mut parser = LogFileParser::new(Offset::UTC, "2026-11-24T00:00:00Z".parse().expect("time"));
        let mut assembler = Assembler::new(Trust::Kernel);
        let start = parser.parse(&start);
        for number in 0..repeats {
            let _ = assembler.push(&start);
            let row = row(u32::try_from(number).expect("few"), 1);
            let _ = assembler.push(&Record::bare(row.trim_end().as_bytes()));
        }
        let victims = usize::try_from(assembler.counts().kills).expect("few").min(MAX_VICTIMS);
        let state_bytes = format!("{assembler:?}").len();
        prop_assert!(state_bytes < (1 << 20) + victims * 2048, "{state_bytes} with {victims} victims");
    }
}
