//! Who may do what: all roles against all resources, as one page.

use crate::world::{World, id, person, site, spec};
use consortium::policy::{Resource, SHIPPED};
use consortium::{
    Action, Actor, Artifact, Command, Decision, Event, Job, JobSpec, Label, OrganisationId, PersonId, Policy,
    ProjectId, RefusalKind, Role, SiteId, Standing, Stands, State, Tenure,
};

/// A letter for each policy of the page.
const LEGEND: [(&str, &str); 26] = [
    ("H", "hub-founds-the-consortium"),
    ("A", "office-administers"),
    ("U", "auditor-audits"),
    ("C", "members-contribute-to-their-project"),
    ("M", "members-read-their-project"),
    ("O", "open-is-open"),
    ("D", "members-read-what-is-the-consortiums"),
    ("B", "people-read-what-they-brought"),
    ("S", "placed-sites-read-what-the-job-needs"),
    ("K", "any-site-may-be-a-candidate"),
    ("X", "restricted-stays-closed-to-foreign-partners"),
    ("Y", "security-is-for-the-cleared"),
    ("Z", "security-stays-at-the-national-centre"),
    ("P", "people-of-active-organisations-act"),
    ("Q", "sites-of-active-organisations-act"),
    // Of calls and proposals; `calls.rs` has their tables.
    ("a", "anyone-proposes-to-open-calls"),
    ("d", "domestic-members-propose-to-the-consortiums-calls"),
    ("r", "reviewers-review-what-they-were-asked-to"),
    ("o", "office-decides-on-proposals"),
    ("u", "auditors-follow-proposals"),
    ("t", "reviews-are-told-after-judgement"),
    ("b", "reviews-are-closed-to-a-proposals-people-before"),
    ("n", "nobody-judges-their-own"),
    ("c", "colleagues-dont-read-proposals"),
    ("x", "conflicts-close-a-proposal"),
    // Of invoices; `invoices.rs` tells who sees them.
    ("i", "owners-bill-for-their-sites"),
];

/// `+` and the policies that permit, `-` and the policies that forbid; a bare `-`: nothing permits.
const MATRIX: &str = "
                       | read artifact       | read job            | project    | consortium       | hold job
                       | open cons rest secu | open cons rest secu | contribute | administer audit | open cons rest secu
hub                    | +H   +H   +H   +H   | +H   +H   +H   +H   | +H         | +H         +H    | +H   +H   +H   +H
office                 | +AO  +AD  +A   -Y   | +AO  +AD  +A   -Y   | -          | +A         +A    | -    -    -    -
office, cleared        | +AO  +AD  +A   +A   | +AO  +AD  +A   +A   | -          | +A         +A    | -    -    -    -
office, suspended      | -P   -P   -P   -P   | -P   -P   -P   -P   | -P         | -P         -P    | -P   -P   -P   -P
auditor                | +O   +D   -    -Y   | +O   +D   -    -Y   | -          | -          +U    | -    -    -    -
member of the project  | +MO  +DM  +M   -Y   | +MO  +DM  +M   -Y   | +C         | -          -     | -    -    -    -
member, cleared        | +MO  +DM  +M   +M   | +MO  +DM  +M   +M   | +C         | -          -     | -    -    -    -
member, suspended      | -P   -P   -P   -P   | -P   -P   -P   -P   | -P         | -P         -P    | -P   -P   -P   -P
member, has left       | -P   -P   -P   -P   | -P   -P   -P   -P   | -P         | -P         -P    | -P   -P   -P   -P
domestic, not a member | +O   +D   -    -Y   | +O   +D   -    -Y   | -          | -          -     | -    -    -    -
domestic, cleared      | +O   +D   -    -    | +O   +D   -    -    | -          | -          -     | -    -    -    -
foreign, member        | +MO  -X   -X   -XY  | +MO  -X   -X   -XY  | +C         | -          -     | -    -X   -X   -X
foreign, cleared       | +MO  -X   -X   -X   | +MO  -X   -X   -X   | +C         | -          -     | -    -X   -X   -X
foreign, brought it    | +BO  +B   +B   -Y   | +O   -X   -X   -XY  | -          | -          -     | -    -X   -X   -X
foreign, not a member  | +O   -X   -X   -XY  | +O   -X   -X   -XY  | -          | -          -     | -    -X   -X   -X
site, placed           | +S   +S   +S   -Z   | +S   +S   +S   -Z   | -          | -          -     | +K   +K   +K   -Z
site, not placed       | -    -    -    -Z   | -    -    -    -Z   | -          | -          -     | +K   +K   +K   -Z
site, national         | -    -    -    -    | -    -    -    -    | -          | -          -     | +K   +K   +K   +K
site, foreign          | -    -X   -X   -XZ  | -    -X   -X   -XZ  | -          | -          -     | +K   -X   -X   -XZ
site, suspended        | -Q   -Q   -Q   -Q   | -Q   -Q   -Q   -Q   | -Q         | -Q         -Q    | -Q   -Q   -Q   -Q
nobody we know         | -P   -PX  -PX  -PXY | -P   -PX  -PX  -PXY | -P         | -P         -P    | -P   -PX  -PX  -PX
";

/// A job at `bada` and what it reads, as if both had each label.
struct Things {
    world: World,
    jobs: [Job; 4],
    artifacts: [Artifact; 4],
}

const LABELS: [Label; 4] = [Label::Open, Label::Consortium, Label::Restricted, Label::Security];

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
        jobs: LABELS.map(|label| Job { label, ..job.clone() }),
        artifacts: LABELS.map(|label| Artifact {
            label,
            by: [id("lena")].into(),
            ..artifact.clone()
        }),
        world,
    }
}

/// The world of the page: some are cleared, some belong to organisations that take no part.
fn populated(world: &World) -> State {
    let mut state = world.state.clone();
    let like = |state: &mut State, new: &str, old: &str, organisation: &str, role: Option<Role>| {
        let mut person = state.people[&id::<PersonId>(old)].clone();
        person.id = id(new);
        person.organisation = id(organisation);
        person.roles.extend(role);
        state.people.insert(person.id.clone(), person);
        let works = state.projects[&id::<ProjectId>("reviews")]
            .members
            .contains(&id(old));
        let project = state
            .projects
            .get_mut(&id::<ProjectId>("reviews"))
            .expect("a project");
        project.members.extend(works.then(|| id(new)));
    };
    for (organisation, standing) in [("away", Standing::Suspended), ("gone", Standing::Left)] {
        let mut it = state.organisations[&id::<OrganisationId>("gaon")].clone();
        it.id = id(organisation);
        state.organisations.insert(it.id.clone(), it);
        let stands = Stands {
            standing,
            ..Stands::default()
        };
        state.standings.insert(id(organisation), stands);
        like(
            &mut state,
            organisation,
            "minji",
            organisation,
            Some(Role::Cleared),
        );
    }
    like(
        &mut state,
        "director-away",
        "director",
        "away",
        Some(Role::Cleared),
    );
    like(
        &mut state,
        "director-cleared",
        "director",
        "office",
        Some(Role::Cleared),
    );
    like(&mut state, "minji-cleared", "minji", "gaon", Some(Role::Cleared));
    like(&mut state, "jun-cleared", "jun", "hangang", Some(Role::Cleared));
    like(&mut state, "anna-cleared", "anna", "rhein", Some(Role::Cleared));
    like(&mut state, "lena", "otto", "rhein", None);
    for (new, tenure, owner) in [
        ("national", Tenure::National, "office"),
        ("bada-away", Tenure::National, "away"),
    ] {
        let mut site = state.sites[&id::<SiteId>("bada")].clone();
        site.id = id(new);
        (site.tenure, site.owner) = (tenure, id(owner));
        state.sites.insert(site.id.clone(), site);
    }
    state
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
    let state = populated(&world);
    let project = &state.projects[&id("reviews")];
    let rows = [
        ("hub", Actor::Hub),
        ("office", person("director")),
        ("office, cleared", person("director-cleared")),
        ("office, suspended", person("director-away")),
        ("auditor", person("inspector")),
        ("member of the project", person("minji")),
        ("member, cleared", person("minji-cleared")),
        ("member, suspended", person("away")),
        ("member, has left", person("gone")),
        ("domestic, not a member", person("jun")),
        ("domestic, cleared", person("jun-cleared")),
        ("foreign, member", person("anna")),
        ("foreign, cleared", person("anna-cleared")),
        ("foreign, brought it", person("lena")),
        ("foreign, not a member", person("otto")),
        ("site, placed", site("bada")),
        ("site, not placed", site("hangang")),
        ("site, national", site("national")),
        ("site, foreign", site("rhein")),
        ("site, suspended", site("bada-away")),
        ("nobody we know", person("nobody")),
    ];
    let four = LABELS
        .map(|label| format!("{:<4}", &label.to_string()[..4]))
        .join(" ");
    let mut page = vec![
        format!(
            "{:<22} | {:<19} | {:<19} | {:<10} | {:<16} | hold job",
            "", "read artifact", "read job", "project", "consortium"
        ),
        format!(
            "{:<22} | {four} | {four} | contribute | administer audit | {four}",
            ""
        ),
    ];
    for (who, actor) in rows {
        let ask = |action, resource| cell(&state.policy.ask(&state, &actor, action, &resource));
        let four = |cells: Vec<String>| {
            let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:<4}")).collect();
            cells.join(" ")
        };
        let read = artifacts
            .iter()
            .map(|it| ask(Action::Read, Resource::Artifact(it)));
        let learn = jobs.iter().map(|it| ask(Action::Read, Resource::Job(it)));
        let hold = jobs.iter().map(|it| ask(Action::Hold, Resource::Job(it)));
        let row = format!(
            "{who:<22} | {} | {} | {:<10} | {:<10} {:<5} | {}",
            four(read.collect()),
            four(learn.collect()),
            ask(Action::Contribute, Resource::Project(project)),
            ask(Action::Administer, Resource::Consortium),
            ask(Action::Audit, Resource::Consortium),
            four(hold.collect()),
        );
        page.push(row);
    }
    let page: Vec<&str> = page.iter().map(|row| row.trim_end()).collect();
    assert_eq!(page.join("\n"), MATRIX.trim_matches('\n'));
    let named = SHIPPED.matches("@id(").count();
    assert_eq!(named, LEGEND.len(), "every policy that is shipped has its letter");
}

/// A policy from when there were two labels: to it, what isn't open is restricted.
#[test]
fn an_older_policy_closes_what_it_has_no_word_for() {
    let older = "@id(\"hub\") permit (principal is Hub, action, resource);
        @id(\"members\") permit (principal is Person, action == Action::\"read\", resource)
            when { resource.members.contains(principal) };
        @id(\"closed\") forbid (principal, action, resource is Artifact)
            when { principal.home == \"foreign\" && resource.label == \"restricted\" }; // \"security\"";
    let Things { world, artifacts, .. } = things();
    let policy = Policy::parse(older).unwrap();
    let reads = artifacts.map(|it| {
        let read = |who| {
            let ask = policy.ask(&world.state, &person(who), Action::Read, &Resource::Artifact(&it));
            ask.allowed
        };
        (read("minji"), read("anna"))
    });
    assert_eq!(reads, [(true, true), (true, false), (true, false), (true, false)]);
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
    assert!(reads(&world.state, Resource::Artifact(&artifacts[2])));
    world.must(person("minji"), Command::Cancel(jobs[2].id));
    assert!(!reads(&world.state, Resource::Artifact(&artifacts[2])));
    assert!(!reads(&world.state, Resource::Job(world.job(jobs[2].id))));
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
