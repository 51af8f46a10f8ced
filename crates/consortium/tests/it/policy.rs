//! Who may do what: all roles against all resources, as one page.

use crate::world::{World, id, person, site, spec};
use consortium::policy::{Resource, SHIPPED};
use consortium::{
    Action, Actor, Artifact, Command, Decision, Event, Job, JobSpec, Label, Policy, RefusalKind, State,
};

/// A letter for each policy of the page.
const LEGEND: [(&str, &str); 9] = [
    ("H", "hub-founds-the-consortium"),
    ("A", "office-administers"),
    ("U", "auditor-audits"),
    ("C", "members-contribute-to-their-project"),
    ("M", "members-read-their-project"),
    ("O", "open-is-open"),
    ("S", "placed-sites-read-what-the-job-needs"),
    ("K", "any-site-may-be-a-candidate"),
    ("X", "restricted-stays-closed-to-foreign-partners"),
];

/// `+` and the policies that permit, `-` and the policies that forbid; a bare `-`: nothing permits.
const MATRIX: &str = "
                       | read artifact   | read job        | project    | consortium       | hold job
                       | open restricted | open restricted | contribute | administer audit | open restricted
hub                    | +H   +H         | +H   +H         | +H         | +H         +H    | +H   +H
office                 | +AO  +A         | +AO  +A         | -          | +A         +A    | -    -
auditor                | +O   -          | +O   -          | -          | -          +U    | -    -
member of the project  | +MO  +M         | +MO  +M         | +C         | -          -     | -    -
domestic, not a member | +O   -          | +O   -          | -          | -          -     | -    -
foreign, member        | +MO  -X         | +MO  -X         | +C         | -          -     | -    -X
foreign, not a member  | +O   -X         | +O   -X         | -          | -          -     | -    -X
site, placed           | +S   +S         | +S   +S         | -          | -          -     | +K   +K
site, not placed       | -    -          | -    -          | -          | -          -     | +K   +K
site, foreign          | -    -X         | -    -X         | -          | -          -     | +K   -X
nobody we know         | +O   -X         | +O   -X         | -          | -          -     | -    -X
";

/// A job at `bada` and what it reads, once restricted and once as if both were open.
struct Things {
    world: World,
    jobs: [Job; 2],
    artifacts: [Artifact; 2],
}

fn things() -> Things {
    let mut world = World::founded();
    let tokens = world.register("reviews.tokens", Label::Restricted, &[]);
    let inputs = [("train.tokens".to_owned(), tokens)].into();
    let job = world.submit(JobSpec {
        sites: 1,
        inputs,
        ..spec()
    });
    let (job, artifact) = (world.job(job).clone(), world.artifact(tokens).clone());
    assert!(job.members.contains_key(&id("bada")));
    Things {
        jobs: [
            Job {
                label: Label::Open,
                ..job.clone()
            },
            job,
        ],
        artifacts: [
            Artifact {
                label: Label::Open,
                ..artifact.clone()
            },
            artifact,
        ],
        world,
    }
}

fn cell(decision: &Decision) -> String {
    let letter = |name: &String| {
        LEGEND
            .iter()
            .find(|(_, policy)| policy == name)
            .map_or("?", |(l, _)| l)
    };
    let mut letters: Vec<&str> = decision.policies.iter().map(letter).collect();
    letters.sort_unstable();
    let sign = if decision.allowed { '+' } else { '-' };
    format!("{sign}{}", letters.concat())
}

#[test]
fn roles_and_resources() {
    let Things {
        world,
        jobs,
        artifacts,
    } = things();
    let project = &world.state.projects[&id("reviews")];
    let columns = [
        (Action::Read, Resource::Artifact(&artifacts[0])),
        (Action::Read, Resource::Artifact(&artifacts[1])),
        (Action::Read, Resource::Job(&jobs[0])),
        (Action::Read, Resource::Job(&jobs[1])),
        (Action::Contribute, Resource::Project(project)),
        (Action::Administer, Resource::Consortium),
        (Action::Audit, Resource::Consortium),
        (Action::Hold, Resource::Job(&jobs[0])),
        (Action::Hold, Resource::Job(&jobs[1])),
    ];
    let rows = [
        ("hub", Actor::Hub),
        ("office", person("director")),
        ("auditor", person("inspector")),
        ("member of the project", person("minji")),
        ("domestic, not a member", person("jun")),
        ("foreign, member", person("anna")),
        ("foreign, not a member", person("otto")),
        ("site, placed", site("bada")),
        ("site, not placed", site("hangang")),
        ("site, foreign", site("rhein")),
        ("nobody we know", person("nobody")),
    ];
    let mut page: Vec<String> = MATRIX
        .trim_matches('\n')
        .lines()
        .take(2)
        .map(str::to_owned)
        .collect();
    for (who, actor) in rows {
        let cells = columns
            .map(|(action, resource)| cell(&world.state.policy.ask(&world.state, &actor, action, &resource)));
        let [a, b, c, d, e, f, g, h, i] = cells;
        let row =
            format!("{who:<22} | {a:<4} {b:<10} | {c:<4} {d:<10} | {e:<10} | {f:<10} {g:<5} | {h:<4} {i}");
        page.push(row);
    }
    assert_eq!(page.join("\n"), MATRIX.trim_matches('\n'));
    let named = SHIPPED.matches("@id(").count();
    assert_eq!(named, LEGEND.len(), "every policy that is shipped has its letter");
}

/// A job that is only asked for is judged like one that is there.
#[test]
fn a_planned_job_is_read_like_a_job() {
    let Things { world, jobs, .. } = things();
    for job in &jobs {
        for name in ["director", "inspector", "minji", "jun", "anna", "otto"] {
            let ask = |resource| {
                world
                    .state
                    .policy
                    .ask(&world.state, &person(name), Action::Read, &resource)
            };
            let planned = ask(Resource::Planned(&job.spec, job.label));
            assert_eq!(planned, ask(Resource::Job(job)), "{name}, {}", job.label);
        }
    }
}

#[test]
fn a_site_reads_for_as_long_as_the_job_goes_on() {
    let Things {
        mut world,
        jobs,
        artifacts,
    } = things();
    let reads = |state: &State, resource| {
        state
            .policy
            .ask(state, &site("bada"), Action::Read, &resource)
            .allowed
    };
    assert!(reads(&world.state, Resource::Artifact(&artifacts[1])));
    world.must(person("minji"), Command::Cancel(jobs[1].id));
    assert!(!reads(&world.state, Resource::Artifact(&artifacts[1])));
    assert!(!reads(&world.state, Resource::Job(world.job(jobs[1].id))));
}

// ---- other policies --------------------------------------------------------------------------------------

#[test]
fn a_policy_that_can_not_work_is_refused_with_the_reason() {
    let check = |text: &str, expected: &str| {
        let error = Policy::parse(text).unwrap_err().to_string();
        assert!(error.starts_with("the policy can't be adopted: "), "{error}");
        assert!(error.contains(expected), "{error}\nshould say: {expected}");
    };
    check("permit (principal, action", "unexpected end of input");
    check(
        "permit (principal, action, resource);",
        "a policy has no @id(\"...\"): permit",
    );
    check(
        "@id(\"\") permit (principal, action, resource);",
        "a policy has no @id(\"...\"): @id(\"\")",
    );
    let when = |condition: &str| {
        format!("@id(\"a\") permit (principal is Site, action, resource is Job) when {{ {condition} }};")
    };
    check(
        "@id(\"a\") permit (principal is Robot, action, resource);",
        "policy a: unrecognized entity type `Robot`",
    );
    check(
        "@id(\"a\") permit (principal, action == Action::\"fly\", resource);",
        "policy a: unrecognized action `Action::\"fly\"`",
    );
    check(
        &when("principal.shoe == 43"),
        "policy a: attribute `shoe` on entity type `Site` not found",
    );
    check(
        &when("resource.label == 1"),
        "policy a: the types Long and String are not compatible",
    );
    let (shoe, hat) = (
        when("principal.shoe == 43"),
        when("principal.hat == 60").replace("\"a\"", "\"b\""),
    );
    let both = Policy::parse(&format!("{hat}\n{shoe}")).unwrap_err().to_string();
    assert!(
        both.find("policy a: ").unwrap() < both.find("; policy b: ").unwrap(),
        "{both}"
    );
    check(&format!("{shoe}\n{shoe}"), "`a`");
    check(
        "@id(\"closed\") forbid (principal == ?principal, action, resource);",
        "policy closed has a slot (?principal or ?resource), and nothing ever fills it",
    );
}

/// Nobody could undo it: nobody could adopt another policy.
#[test]
fn a_policy_that_locks_the_hub_out_is_refused() {
    let mut world = World::founded();
    let lockouts = [
        "",
        "@id(\"people-only\") permit (principal is Person, action, resource);",
        &format!("{SHIPPED}\n@id(\"stop\") forbid (principal, action == Action::\"administer\", resource);"),
    ];
    for text in lockouts {
        let refusal = world
            .ask(Actor::Hub, Command::AdoptPolicy(text.to_owned()))
            .unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Invalid);
        assert_eq!(
            refusal.message, "under this policy the hub may not administer the consortium",
            "{text}"
        );
    }
    assert!(world.state.policy == Policy::default());
}

#[test]
fn adopting_a_policy_changes_decisions() {
    let mut world = World::founded();
    let bad = world
        .ask(person("director"), Command::AdoptPolicy("permit".into()))
        .unwrap_err();
    assert_eq!(bad.kind, RefusalKind::Invalid);

    let stricter = format!(
        "{SHIPPED}\n@id(\"bada-rests\")\nforbid (principal is Site, action == Action::\"hold\", resource)\n\
         when {{ principal.owner == \"bada\" }};"
    );
    let adopted = world.must(person("director"), Command::AdoptPolicy(stricter.clone()));
    assert_eq!(
        adopted,
        [Event::PolicyAdopted {
            text: stricter.clone()
        }]
    );
    assert_eq!(world.state.policy.text(), stricter);
    let job = world.submit(spec());
    let because = consortium::explain(&world.state, world.job(job), world.now).sites[0]
        .because
        .clone();
    assert_eq!(
        because,
        "it may not receive restricted weights: policy bada-rests"
    );

    world.must(Actor::Hub, Command::AdoptPolicy(SHIPPED.to_owned()));
    assert!(
        world.job(job).is_active() && !world.job(job).members.is_empty(),
        "the job that waited is placed"
    );
}
