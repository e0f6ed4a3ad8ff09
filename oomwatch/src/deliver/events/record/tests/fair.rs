//! Kills of one tenant, and what is left for others.

use super::*;

/// A kill in a container of a pod.
fn kill_in(namespace: &str, pod: u32, container: u32, number: u32, second: u64) -> Report {
    let mut report = kill(number, &format!("i-{number}"), second);
    let owner = report.pod.as_mut().expect("a pod");
    owner.namespace = Some(namespace.to_owned());
    owner.name = Some(format!("pod-{pod}"));
    owner.uid = format!("uid-{namespace}-{pod}");
    let inner = report.container.as_mut().expect("a container");
    inner.name = Some(format!("app-{container}"));
    report
}

#[test]
fn kills_of_one_tenant_delay_the_events_of_others_by_seconds() {
    let mut recorder = recorder();
    let (mut number, mut sent) = (0, BTreeMap::new());
    let mut creates_of_tenant = 0;
    for second in 0..24 {
        for _ in 0..100 {
            number += 1;
            let (pod, container) = (number % 110, number / 110 % 10);
            let report = kill_in("tenant", pod, container, number, second);
            record(&mut recorder, &report, second);
        }
        // Eight other pods, whose kills begin when the queue is full.
        if (12..20).contains(&second) {
            let other = u32::try_from(second).expect("small");
            let report = kill_in("others", other, 0, 100_000 + other, second);
            record(&mut recorder, &report, second);
        }
        let mut requests = 0;
        let now_ns = at(second);
        while let Next::Send(request) = recorder.next(now_ns) {
            requests += 1;
            let name = &request.event.metadata;
            recorder.handle_response(name, &Response::Accepted, now_ns, 0.5);
            match request.method {
                Method::Create if name.namespace == "others" => {
                    sent.insert(request.event.involved_object.name.clone(), second);
                }
                Method::Create => creates_of_tenant += 1,
                Method::Patch => {}
            }
        }
        assert!(requests <= if second == 0 { 25 } else { 5 }, "{requests}");
    }
    let others: Vec<_> = (12..20)
        .map(|other| (format!("pod-{other}"), other))
        .collect();
    let late: Vec<_> = others
        .iter()
        .filter(|(pod, second)| sent.get(pod).is_none_or(|sent| *sent > second + 1))
        .collect();
    assert_eq!(late, [] as [&(String, u64); 0], "{sent:?}");
    // The rest of the rate is the tenant's.
    assert!(creates_of_tenant > 100, "{creates_of_tenant}");
}
