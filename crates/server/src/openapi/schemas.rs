use schemars::generate::{Contract, SchemaSettings};
use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The schemas of all types that travel. What comes in may leave out what has a default, and what goes out always
/// has it; so a type that travels both ways may have two schemas.
pub(super) struct Schemas {
    inputs: SchemaGenerator,
    outputs: SchemaGenerator,
}

const INPUTS: &str = "#/components/inputs/";
const OUTPUTS: &str = "#/components/schemas/";

impl Default for Schemas {
    fn default() -> Self {
        let generator = |contract, path: &'static str| {
            let settings = SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = path[1..].into();
                settings.contract = contract;
            });
            settings.into_generator()
        };
        Self {
            inputs: generator(Contract::Deserialize, INPUTS),
            outputs: generator(Contract::Serialize, OUTPUTS),
        }
    }
}

impl Schemas {
    pub(super) fn input<T: JsonSchema>(&mut self) -> Value {
        taken(self.inputs.subschema_for::<T>())
    }

    /// With its fields in place.
    pub(super) fn inline_input<T: JsonSchema>(&mut self) -> Value {
        taken(T::json_schema(&mut self.inputs))
    }

    pub(super) fn output<T: JsonSchema>(&mut self) -> Value {
        told(self.outputs.subschema_for::<T>())
    }

    /// Puts the schemas into `document`: one under each name where both ways are the same, and else the one of what
    /// comes in under another name.
    pub(super) fn settle(mut self, mut document: Value) -> Value {
        let each = |of: Map<String, Value>, as_it_is: fn(Schema) -> Value| {
            let of = of.into_iter();
            of.map(move |(name, schema)| {
                let schema = Schema::try_from(schema).expect("a definition is a schema");
                (name, as_it_is(schema))
            })
        };
        let mut all: Map<String, Value> = each(self.outputs.take_definitions(false), told).collect();
        let inputs: Map<String, Value> = each(self.inputs.take_definitions(false), taken).collect();
        let others = others(&inputs, &all);
        let name = |name: &str| {
            if others.contains(name) {
                format!("{name}Input")
            } else {
                name.to_owned()
            }
        };
        for (input, schema) in inputs {
            all.entry(name(&input)).or_insert(schema);
        }
        document["components"]["schemas"] = Value::Object(all);
        for_each_reference(&mut document, &mut |reference| {
            if let Some(input) = reference.strip_prefix(INPUTS) {
                *reference = format!("{OUTPUTS}{}", name(input));
            }
        });
        document
    }
}

/// The names of inputs that are not what goes out under the same name, by themselves or in what they refer to.
fn others(inputs: &Map<String, Value>, outputs: &Map<String, Value>) -> BTreeSet<String> {
    let mut others = BTreeSet::new();
    loop {
        let before = others.len();
        for (name, schema) in inputs {
            let Some(output) = outputs.get(name) else { continue };
            let mut schema = schema.clone();
            let mut differs = false;
            for_each_reference(&mut schema, &mut |reference| {
                let input = reference.strip_prefix(INPUTS).unwrap_or_default();
                differs |= others.contains(input);
                *reference = format!("{OUTPUTS}{input}");
            });
            if differs || schema != *output {
                others.insert(name.clone());
            }
        }
        if others.len() == before {
            return others;
        }
    }
}

fn for_each_reference(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(reference) if name == "$ref" => change(reference),
                    _ => for_each_reference(field, change),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| for_each_reference(item, change)),
        _ => {}
    }
}

/// A schema of what comes in: a set takes what is said twice.
fn taken(mut schema: Schema) -> Value {
    RecursiveTransform(|schema: &mut Schema| drop(schema.remove("uniqueItems"))).transform(&mut schema);
    told(schema)
}

/// A schema of what goes out.
fn told(mut schema: Schema) -> Value {
    RecursiveTransform(bounded).transform(&mut schema);
    schema.to_value()
}

/// Numbers have the bounds of their formats, for those who don't know the formats.
fn bounded(schema: &mut Schema) {
    let (least, most) = match schema.get("format").and_then(Value::as_str) {
        Some("uint32") => (json!(0), json!(u32::MAX)),
        Some("uint64") => (json!(0), json!(u64::MAX)),
        Some("int64") => (json!(i64::MIN), json!(i64::MAX)),
        Some("float") => (json!(f32::MIN), json!(f32::MAX)),
        _ => return,
    };
    for (bound, value) in [("minimum", least), ("maximum", most)] {
        if schema.get(bound).is_none() {
            schema.insert(bound.to_owned(), value);
        }
    }
}
