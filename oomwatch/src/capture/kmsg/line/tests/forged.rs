//! Names that imitate the kernel's separators.

use super::*;

/// A tenant owns `/t` and everything below it, and names cgroups there. Whatever he names them, no victim's cgroup is
/// outside of `/t`.
#[test]
fn name_of_a_cgroup_cannot_move_the_victim_to_another_cgroup() {
    let other = "/kubepods/podOTHER/c1";
    for (oom, task) in [
        // The whole rest of the line, and the paths once more.
        (
            "/t/e",
            format!("/t/e/x,task_memcg={other},task=a,pid=1,uid=0"),
        ),
        ("/t", format!("/t/x,oom_memcg={other},task_memcg={other}")),
        ("/t", format!("/t/x,global_oom,task_memcg={other}")),
        (
            "/t/e,task_memcg=/kubepods/podOTHER/c1",
            format!("/t/e,task_memcg={other}"),
        ),
        (
            "/t/e,task_memcg=/kubepods/podOTHER/c1",
            format!("/t/e,task_memcg={other}/below"),
        ),
        ("/t", format!("/t/a,task_memcg=/t,task_memcg={other}")),
    ] {
        for cpuset in ["x", ",global_oom,task_memcg=", ",oom_memcg=", "/"] {
            let text = format!(
                "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={cpuset},mems_allowed=0,oom_memcg={oom},task_memcg={task},task=a,pid=7,uid=5"
            );
            let Some(Line::OomKill(line)) = parse(text.as_bytes()) else {
                panic!("{text}");
            };
            assert_eq!(
                (line.scope, line.pid, line.uid),
                (Scope::Memcg, 7, 5),
                "{text}"
            );
            let is_right = |found: Option<&[u8]>, path: &str| {
                found.is_none_or(|found| found == path.as_bytes())
            };
            assert!(is_right(line.oom_memcg, oom), "{text}\n{line:?}");
            assert!(is_right(line.task_memcg, &task), "{text}\n{line:?}");
        }
        let text = format!(
            "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=x,mems_allowed=0,global_oom,task_memcg={task},task=a,pid=7,uid=5"
        );
        let Some(Line::OomKill(line)) = parse(text.as_bytes()) else {
            panic!("{text}");
        };
        assert_eq!(line.scope, Scope::System);
        assert_eq!(line.task_memcg, Some(task.as_bytes()), "{text}");
    }
    for (oom, task) in [
        (
            "/t/e",
            "/t/e/x killed as a result of limit of /kubepods/podOTHER/c1",
        ),
        (
            "/t killed as a result of limit of /o",
            "/t killed as a result of limit of /o",
        ),
        ("/t", "/t/x killed as a result of limit of "),
    ] {
        let text = format!("Task in {task} killed as a result of limit of {oom}");
        let Some(Line::TaskIn {
            task_memcg,
            oom_memcg,
        }) = parse(text.as_bytes())
        else {
            panic!("{text}");
        };
        assert!(
            task_memcg.is_none_or(|found| found == task.as_bytes()),
            "{text}"
        );
        assert!(
            oom_memcg.is_none_or(|found| found == oom.as_bytes()),
            "{text}"
        );
    }
}

/// What follows behind a newline in a name belongs to the line.
#[test]
fn line_that_a_name_may_have_broken_is_incomplete() {
    for text in [
        "sh cpuset=a",
        "Memory cgroup stats for /a",
        "Task in /a",
        "Tasks in /a",
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=a",
    ] {
        assert_eq!(parse(text.as_bytes()), Some(Line::Incomplete), "{text}");
    }
    for text in [
        "sh cpuset=a mems_allowed=0",
        "Memory cgroup stats for /a:",
        "Memory cgroup stats for /a: cache:0KB rss:0KB",
    ] {
        assert_eq!(parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn line_without_memory_cgroups_has_no_path() {
    let Some(Line::OomKill(line)) = parse(
        b"oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,task=a,pid=7,uid=5",
    ) else {
        panic!()
    };
    assert_eq!((line.scope, line.task_memcg), (Scope::System, None));
}

/// A name of 15 bytes may contain a newline, behind which a text log shows the rest like a line.
#[test]
fn name_of_a_thread_cannot_imitate_a_row_of_the_table() {
    for text in ["[1] 0 2 3 4 5 6", "[1] 0 2 3 4 5 6 ", "[1] 0 2 3"] {
        assert_eq!(parse(text.as_bytes()), None);
    }
}

proptest! {
    /// Two paths of any names give these paths, or none: the victim's is the first one or below it.
    #[test]
    fn paths_of_any_names_are_never_wrong(
        names in proptest::collection::vec("[a,=]{1,3}|,task_memcg=|,task=|,oom_memcg=| killed as a result of limit of |t", 1..6),
        depth in 1..6_usize,
        comm in "[a,=]{0,5}|,task=a",
    ) {
        let path = |names: &[String]| format!("/{}", names.join("/"));
        let (oom, task) = (path(&names[..depth.min(names.len())]), path(&names));
        let text = format!("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg={oom},task_memcg={task},task={comm},pid=7,uid=5");
        let Some(Line::OomKill(line)) = parse(text.as_bytes()) else { panic!("{text}") };
        prop_assert!(line.oom_memcg.is_none_or(|found| found == oom.as_bytes()), "{}", text);
        // A name that ends with `,task=` leaves the beginning of the path.
        prop_assert!(line.task_memcg.is_none_or(|found| task.as_bytes().starts_with(found)), "{}", text);
        let text = format!("Task in {task} killed as a result of limit of {oom}");
        let Some(Line::TaskIn { task_memcg, oom_memcg }) = parse(text.as_bytes()) else { panic!("{text}") };
        prop_assert!(task_memcg.is_none_or(|found| found == task.as_bytes()), "{}", text);
        prop_assert!(oom_memcg.is_none_or(|found| found == oom.as_bytes()), "{}", text);
    }
}
