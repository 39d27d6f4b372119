/*-------------------------------------------------------------------------
 *
 * config.c
 *		From the trigger's argument (resolved configuration) to a tracker.
 *
 * The argument was made by clinicache.track(), but a dump may have been edited
 * and columns may have been dropped since: everything is checked here, with
 * errors that a person can act on.
 *
 *-------------------------------------------------------------------------
 */
#include "clinicache.h"

#include "tracker.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "counter.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* state of one compilation; all memory is the tracker's */
typedef struct Compiler
{
	Tracker    *tracker;
	Relation	rel;
	Jsonb	   *columns;		/* logical name -> real columns, or NULL */
	Jsonb	   *zones;			/* real column -> "local" or "utc", or NULL */
	Jsonb	   *profiles;		/* profile -> seconds, or NULL */
	List	   *names;			/* what was looked up already ... */
	List	   *refs;			/* ... and its ValueRef: equal names share one */
} Compiler;

static void
config_error(const char *message)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid clinicache configuration: %s", message),
			 errhint("Track the table again with clinicache.track().")));
}

static JsonbValue *
get_field(Jsonb *object, const char *key)
{
	JsonbValue *value;

	if (object == NULL)
		return NULL;
	value = getKeyJsonValueFromContainer(&object->root, key, strlen(key), NULL);
	return value && value->type == jbvNull ? NULL : value;
}

static char *
as_string(JsonbValue *value, const char *what)
{
	if (value->type != jbvString)
		config_error(psprintf("\"%s\" has to be a string", what));
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static Jsonb *
get_object(Jsonb *object, const char *key)
{
	JsonbValue *value = get_field(object, key);

	if (value == NULL)
		return NULL;
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		config_error(psprintf("\"%s\" has to be an object", key));
	return JsonbValueToJsonb(value);
}

/* The elements of an array of strings; a single string counts as one. */
static List *
get_strings(JsonbValue *value, const char *what)
{
	List	   *result = NIL;

	if (value == NULL)
		return NIL;
	if (value->type == jbvString)
		return list_make1(as_string(value, what));
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		config_error(psprintf("\"%s\" has to be a string or an array of strings", what));
	for (uint32 i = 0; i < JsonContainerSize(value->val.binary.data); i++)
		result = lappend(result,
						 as_string(getIthJsonbValueFromContainer(value->val.binary.data, i), what));
	return result;
}

static AttrNumber
find_attno(Compiler *compiler, const char *name)
{
	AttrNumber	attno = get_attnum(RelationGetRelid(compiler->rel), name);

	if (attno <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist, but clinicache's "
						"configuration uses it", name,
						RelationGetRelationName(compiler->rel)),
				 errhint("Track the table again with clinicache.track().")));
	return attno;
}

static SourceColumn *
add_source(Tracker *tracker)
{
	tracker->sources = tracker->sources == NULL ?
		palloc(sizeof(SourceColumn)) :
		repalloc(tracker->sources, sizeof(SourceColumn) * (tracker->nsources + 1));
	return &tracker->sources[tracker->nsources++];
}

/* The index of a column among the tracker's sources, added if need be. */
static int
source_index(Compiler *compiler, const char *name)
{
	Tracker    *tracker = compiler->tracker;
	AttrNumber	attno = find_attno(compiler, name);
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(compiler->rel), attno - 1);
	SourceColumn *source;
	JsonbValue *zone;

	for (int i = 0; i < tracker->nsources; i++)
		if (tracker->sources[i].attno == attno)
			return i;
	source = add_source(tracker);
	source->attno = attno;
	source->lookup = -1;
	source->name = pstrdup(name);
	source->typlen = att->attlen;
	source->typbyval = att->attbyval;
	cc_value_type_init(&source->type, att->atttypid, tracker->context);
	zone = get_field(compiler->zones, name);
	source->type.is_local = zone && strcmp(as_string(zone, "zone"), "local") == 0;
	tracker->max_attno = Max(tracker->max_attno, attno);
	return tracker->nsources - 1;
}

/*
 * The index of a looked-up value among the sources: it stands behind the table's
 * columns, as a source of its own, and its way begins at one of them.
 */
static int
lookup_index(Compiler *compiler, const char *name, const char *path)
{
	Tracker    *tracker = compiler->tracker;
	Lookup	   *lookup = cc_lookup_compile(compiler->rel, path, tracker->context);
	SourceColumn *source;

	(void) source_index(compiler, cc_lookup_from(lookup));
	tracker->lookups = tracker->lookups == NULL ?
		palloc(sizeof(Lookup *)) :
		repalloc(tracker->lookups, sizeof(Lookup *) * (tracker->nlookups + 1));
	source = add_source(tracker);
	source->lookup = tracker->nlookups;
	source->attno = RelationGetDescr(compiler->rel)->natts + 1 + tracker->nlookups;
	source->name = pstrdup(name);
	get_typlenbyval(cc_lookup_type(lookup), &source->typlen, &source->typbyval);
	cc_value_type_init(&source->type, cc_lookup_type(lookup), tracker->context);
	tracker->lookups[tracker->nlookups++] = lookup;
	return tracker->nsources - 1;
}

static ValueRef *
find_ref(Compiler *compiler, const char *name)
{
	ListCell   *known;
	ListCell   *ref;

	forboth(known, compiler->names, ref, compiler->refs)
		if (strcmp(lfirst(known), name) == 0)
			return lfirst(ref);
	return NULL;
}

/*
 * What a name in a template or in "tenant" stands for: a key of "columns",
 * else a column of the table.
 */
static ValueRef *
make_ref(Compiler *compiler, const char *name)
{
	ValueRef   *ref = find_ref(compiler, name);
	JsonbValue *mapped;
	List	   *names;
	ListCell   *cell;

	if (ref != NULL)
		return ref;
	mapped = get_field(compiler->columns, name);
	ref = palloc0(sizeof(ValueRef));
	compiler->names = lappend(compiler->names, pstrdup(name));
	compiler->refs = lappend(compiler->refs, ref);

	if (mapped && mapped->type == jbvBinary && JsonContainerIsObject(mapped->val.binary.data))
	{
		Jsonb	   *object = JsonbValueToJsonb(mapped);
		JsonbValue *constant = get_field(object, "const");
		JsonbValue *path = get_field(object, "lookup");

		if (path != NULL)
		{
			ref->sources = palloc(sizeof(int));
			ref->sources[ref->nsources++] = lookup_index(compiler, name, as_string(path, "lookup"));
			return ref;
		}
		if (constant == NULL)
			config_error(psprintf("column \"%s\" is mapped to an object without \"const\" or "
								  "\"lookup\"", name));
		ref->constant = as_string(constant, "const");
		ref->constant_len = strlen(ref->constant);
		return ref;
	}
	names = mapped ? get_strings(mapped, name) : list_make1(unconstify(char *, name));
	ref->sources = palloc(sizeof(int) * Max(1, list_length(names)));
	foreach(cell, names)
		ref->sources[ref->nsources++] = source_index(compiler, lfirst(cell));
	return ref;
}

static bool
is_looked_up(const Tracker *tracker, const ValueRef *ref)
{
	return ref && ref->nsources > 0 && tracker->sources[ref->sources[0]].lookup >= 0;
}

/* The same for what other rows must not change: a look-up is refused. */
static ValueRef *
make_column_ref(Compiler *compiler, const char *name, const char *what)
{
	ValueRef   *ref = make_ref(compiler, name);

	if (is_looked_up(compiler->tracker, ref))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" is looked up and can not be %s", name, what),
				 errdetail("Rows of other tables change it, not this one's."),
				 errhint("Name a column of the table, or leave it out.")));
	return ref;
}

static Bitmapset *
add_ref_attnos(Tracker *tracker, Bitmapset *set, const ValueRef *ref)
{
	for (int i = 0; ref && i < ref->nsources; i++)
		set = bms_add_member(set, tracker->sources[ref->sources[i]].attno);
	return set;
}

static int
compile_profile(Compiler *compiler, Jsonb *tag)
{
	JsonbValue *name = get_field(tag, "profile");
	JsonbValue *seconds;
	char	   *profile;

	if (name == NULL)
		return cc_pending_profile(CC_PROFILE_DEFAULT, CC_PROFILE_DEFAULT_SECONDS);
	profile = as_string(name, "profile");
	if (profile[0] == '\0' || strpbrk(profile, ",:"))
		config_error("the name of a profile has no commas or colons");
	seconds = get_field(compiler->profiles, profile);
	if (seconds == NULL || seconds->type != jbvNumeric)
		config_error(psprintf("\"profiles\" does not say how long \"%s\" is", profile));
	return cc_pending_profile(profile,
							  DatumGetInt32(DirectFunctionCall1(numeric_int4,
																NumericGetDatum(seconds->val.numeric))));
}

static void
compile_window(Compiler *compiler, TrackedTag *tag, Jsonb *json)
{
	Tracker    *tracker = compiler->tracker;
	JsonbValue *window = get_field(json, "window");
	List	   *times = get_strings(get_field(json, "time"), "time");
	char	   *kind;

	if (window == NULL)
		return;
	kind = as_string(window, "window");
	if (strcmp(kind, "today") == 0)
		tag->window = WINDOW_TODAY;
	else if (strcmp(kind, "upcoming") == 0)
		tag->window = WINDOW_UPCOMING;
	else if (strcmp(kind, "past") == 0)
		tag->window = WINDOW_PAST;
	else
		config_error(psprintf("there is no window \"%s\", only today, upcoming and past", kind));
	if (times == NIL || list_length(times) > 2)
		config_error("a tag with a window needs \"time\": a column, or a date and a time column");

	tag->date = make_column_ref(compiler, linitial(times), "the time of a window");
	if (list_length(times) == 2)
		tag->clock = make_column_ref(compiler, lsecond(times), "the time of a window");
	for (int i = 0; i < tag->date->nsources; i++)
	{
		SourceColumn *source = &tracker->sources[tag->date->sources[i]];

		if (!cc_value_type_has_day(&source->type))
			config_error(psprintf("column \"%s\" of a window is not a date or timestamp",
								  source->name));
	}
	if (!tracker->windowed)
	{
		tracker->day = tag->date;
		tracker->day_clock = tag->clock;
	}
	tracker->needs_zone = tracker->windowed = true;
	tracker->always = add_ref_attnos(tracker, tracker->always, tag->date);
	tracker->always = add_ref_attnos(tracker, tracker->always, tag->clock);
}

static void
compile_edge(Compiler *compiler, TrackedTag *tag, Jsonb *json)
{
	JsonbValue *edge = get_field(json, "edge");

	if (edge == NULL)
		return;
	if (strcmp(as_string(edge, "edge"), "day") != 0)
		config_error("the only \"edge\" is day");
	tag->edge = compiler->tracker->edged = true;
}

/* Placeholders; the type of a column has to suit its filters. */
static void
compile_parts(Compiler *compiler, TrackedTag *tag)
{
	Tracker    *tracker = compiler->tracker;
	TagTemplate *template = tag->template;

	tag->refs = palloc0(sizeof(ValueRef *) * template->nparts);
	for (int i = 0; i < template->nparts; i++)
	{
		TagPart    *part = &template->parts[i];

		if (part->column == NULL)
			continue;
		tag->refs[i] = make_ref(compiler, part->column);
		if (!cc_template_part_wants_day(part))
			continue;
		tracker->needs_zone = true;
		for (int j = 0; j < tag->refs[i]->nsources; j++)
		{
			SourceColumn *source = &tracker->sources[tag->refs[i]->sources[j]];

			if (!cc_value_type_has_day(&source->type))
				ereport(ERROR,
						(errcode(ERRCODE_DATATYPE_MISMATCH),
						 errmsg("template \"%s\" asks for the day of column \"%s\", which is "
								"not a date or timestamp", template->text, source->name)));
		}
	}
}

static void
compile_tag(Compiler *compiler, TrackedTag *tag, JsonbValue *value)
{
	Tracker    *tracker = compiler->tracker;
	Jsonb	   *json;
	JsonbValue *template;
	JsonbValue *columns;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		config_error("each of \"tags\" has to be an object");
	json = JsonbValueToJsonb(value);
	template = get_field(json, "tag");
	if (template == NULL)
		config_error("one of \"tags\" has no \"tag\"");
	tag->template = cc_template_parse(as_string(template, "tag"));
	tag->profile = compile_profile(compiler, json);
	tag->number = cc_pending_template_number(tag->template->text, tag->template->prefix,
											 !tag->template->is_constant, tag->profile);
	compile_parts(compiler, tag);
	compile_window(compiler, tag, json);
	compile_edge(compiler, tag, json);

	columns = get_field(json, "columns");
	if (columns)
	{
		ListCell   *cell;

		foreach(cell, get_strings(columns, "columns"))
			tag->watch = add_ref_attnos(tracker, tag->watch, make_ref(compiler, lfirst(cell)));
		for (int i = 0; i < tag->template->nparts; i++)
			tag->watch = add_ref_attnos(tracker, tag->watch, tag->refs[i]);
		tracker->selective = true;
	}
}

/* "deleted" is a column, or one with the values that mean deleted */
static void
compile_deleted(Compiler *compiler, Jsonb *config)
{
	Tracker    *tracker = compiler->tracker;
	JsonbValue *deleted = get_field(config, "deleted");
	SourceColumn *source;

	if (deleted == NULL)
		return;
	if (deleted->type == jbvBinary && JsonContainerIsObject(deleted->val.binary.data))
	{
		Jsonb	   *object = JsonbValueToJsonb(deleted);

		deleted = get_field(object, "column");
		if (deleted == NULL)
			config_error("\"deleted\" names no column");
		tracker->deleted_kind = DELETED_VALUES;
		tracker->deleted_values = get_strings(get_field(object, "values"), "values");
	}
	tracker->deleted = make_column_ref(compiler, as_string(deleted, "deleted"), "\"deleted\"");
	tracker->always = add_ref_attnos(tracker, tracker->always, tracker->deleted);
	if (tracker->deleted->nsources != 1)
		config_error("\"deleted\" has to be one column");
	source = &tracker->sources[tracker->deleted->sources[0]];
	if (tracker->deleted_kind != DELETED_VALUES)
		tracker->deleted_kind = source->type.typid == BOOLOID ? DELETED_TRUE : DELETED_NOT_NULL;
}

static ValueRef *
counter_ref(Compiler *compiler, CounterRule *rule, Jsonb *json, const char *key)
{
	JsonbValue *name = get_field(json, key);
	ValueRef   *ref;

	if (name == NULL)
		return NULL;
	ref = make_column_ref(compiler, as_string(name, key), "part of a counter");
	rule->watch = add_ref_attnos(compiler->tracker, rule->watch, ref);
	return ref;
}

static void
check_counter_types(Compiler *compiler, const CounterRule *rule)
{
	SourceColumn *sources = compiler->tracker->sources;

	for (int i = 0; rule->day && i < rule->day->nsources; i++)
		if (!cc_value_type_has_day(&sources[rule->day->sources[i]].type))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("counter \"%s\" takes its day from column \"%s\", which is not a "
							"date or timestamp", rule->name,
							sources[rule->day->sources[i]].name)));
	for (int i = 0; rule->sum && i < rule->sum->nsources; i++)
		if (!cc_counter_can_sum(&sources[rule->sum->sources[i]].type))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("counter \"%s\" sums column \"%s\", which is not a number",
							rule->name, sources[rule->sum->sources[i]].name)));
}

static void
compile_counter(Compiler *compiler, CounterRule *rule, JsonbValue *value)
{
	Jsonb	   *json;
	Jsonb	   *by;
	JsonbValue *name;
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbIteratorToken token;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		config_error("each of \"counters\" has to be an object");
	json = JsonbValueToJsonb(value);
	name = get_field(json, "counter");
	by = get_object(json, "by");
	if (name == NULL || by == NULL)
		config_error("one of \"counters\" lacks \"counter\" or \"by\"");
	rule->name = as_string(name, "counter");
	iterator = JsonbIteratorInit(&by->root);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		if (rule->ndimensions == COUNTER_MAX_DIMENSIONS)
			config_error("a counter has too many dimensions");
		rule->dimensions[rule->ndimensions] = as_string(&key, "by");
		rule->keys[rule->ndimensions] =
			counter_ref(compiler, rule, by, rule->dimensions[rule->ndimensions]);
		if (rule->keys[rule->ndimensions] != NULL)
			rule->ndimensions++;
	}
	rule->day = counter_ref(compiler, rule, json, "day");
	rule->class = counter_ref(compiler, rule, json, "class");
	rule->sum = counter_ref(compiler, rule, json, "sum");
	check_counter_types(compiler, rule);
	rule->watch = add_ref_attnos(compiler->tracker, rule->watch, compiler->tracker->tenant);
	rule->watch = add_ref_attnos(compiler->tracker, rule->watch, compiler->tracker->deleted);
}

/* Counters; all columns are compared then, to tell which contributions change. */
static void
compile_counters(Compiler *compiler, Jsonb *config)
{
	Tracker    *tracker = compiler->tracker;
	JsonbValue *counters = get_field(config, "counters");
	int			count;

	if (counters == NULL)
		return;
	if (counters->type != jbvBinary || !JsonContainerIsArray(counters->val.binary.data))
		config_error("\"counters\" has to be an array");
	count = JsonContainerSize(counters->val.binary.data);
	if (count > 0 && is_looked_up(tracker, tracker->tenant))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a table whose tenant is looked up can not have counters"),
				 errdetail("What a row contributes would change with rows of other tables."),
				 errhint("Leave counters out: \"counters\": [].")));
	tracker->counters = palloc0(sizeof(CounterRule) * Max(1, count));
	for (int i = 0; i < count; i++)
		compile_counter(compiler, &tracker->counters[i],
						getIthJsonbValueFromContainer(counters->val.binary.data, i));
	tracker->ncounters = count;
	tracker->selective |= count > 0;
}

/*
 * Which columns count as a change: all but the ignored ones ("compare": "used" of
 * parents' triggers: none).  Columns that make tags, tenant, windows or deletion, and
 * those that look-ups begin at, count even so.
 */
static void
compile_compared(Compiler *compiler, Jsonb *config)
{
	Tracker    *tracker = compiler->tracker;
	TupleDesc	desc = RelationGetDescr(compiler->rel);
	JsonbValue *compare = get_field(config, "compare");
	bool		only_used = compare && strcmp(as_string(compare, "compare"), "used") == 0;
	ListCell   *cell;
	int			attno = -1;

	tracker->compared = palloc0(sizeof(bool) * (desc->natts + tracker->nlookups + 1));
	tracker->changed = palloc0(sizeof(bool) * (desc->natts + tracker->nlookups + 1));
	for (int i = 0; i < desc->natts && !only_used; i++)
		tracker->compared[i + 1] = !TupleDescAttr(desc, i)->attisdropped;
	foreach(cell, get_strings(get_field(config, "ignore"), "ignore"))
		tracker->compared[find_attno(compiler, lfirst(cell))] = false;
	for (int i = 0; i < tracker->ntags; i++)
	{
		TrackedTag *tag = &tracker->tags[i];

		for (int j = 0; j < tag->template->nparts; j++)
			for (int k = 0; tag->refs[j] && k < tag->refs[j]->nsources; k++)
				tracker->compared[tracker->sources[tag->refs[j]->sources[k]].attno] = true;
	}
	while ((attno = bms_next_member(tracker->always, attno)) >= 0)
		tracker->compared[attno] = true;
	for (int i = 0; i < tracker->nlookups; i++)
		tracker->compared[find_attno(compiler, cc_lookup_from(tracker->lookups[i]))] = true;
	for (int i = 0; i < tracker->ncounters; i++)
		for (attno = -1; (attno = bms_next_member(tracker->counters[i].watch, attno)) >= 0;)
			tracker->compared[attno] = true;
}

/* The sources that a tag is made of, as a set of their indexes. */
static Bitmapset *
tag_sources(const TrackedTag *tag)
{
	Bitmapset  *sources = NULL;

	for (int j = 0; j < tag->template->nparts; j++)
		for (int k = 0; tag->refs[j] && k < tag->refs[j]->nsources; k++)
			sources = bms_add_member(sources, tag->refs[j]->sources[k]);
	for (int k = 0; tag->date && k < tag->date->nsources; k++)
		sources = bms_add_member(sources, tag->date->sources[k]);
	for (int k = 0; tag->clock && k < tag->clock->nsources; k++)
		sources = bms_add_member(sources, tag->clock->sources[k]);
	return sources;
}

/* Sort tags into groups, see TagGroup; "groups" tells each tag's. */
static void
compile_groups(Tracker *tracker, int *groups)
{
	tracker->groups = palloc0(sizeof(TagGroup) * Max(1, tracker->ntags));
	for (int i = 0; i < tracker->ntags; i++)
	{
		TrackedTag *tag = &tracker->tags[i];
		Bitmapset  *sources = tag_sources(tag);
		int			g;

		if (tag->watch)
			tag->watch = bms_add_members(tag->watch, tracker->always);
		for (g = 0; g < tracker->ngroups; g++)
			if (bms_equal(tracker->groups[g].sources, sources) &&
				bms_equal(tracker->groups[g].watch, tag->watch) &&
				tracker->groups[g].windowed == (tag->window != WINDOW_NONE))
				break;
		if (g == tracker->ngroups)
		{
			tracker->groups[g].sources = sources;
			tracker->groups[g].watch = tag->watch;
			tracker->groups[g].windowed = tag->window != WINDOW_NONE;
			tracker->ngroups++;
		}
		groups[i] = g;
		tracker->groups[g].ntags++;
	}
}

/* Copy "size" bytes to where *at points, and move that on. */
static void *
place(char **at, const void *source, Size size)
{
	void	   *copy = memcpy(*at, source, size);

	*at += MAXALIGN(size);
	return copy;
}

static Size
template_size(const TagTemplate *template)
{
	Size		size = MAXALIGN(sizeof(TagTemplate)) +
		MAXALIGN(sizeof(TagPart) * template->nparts) +
		MAXALIGN(sizeof(ValueRef *) * template->nparts);

	for (int i = 0; i < template->nparts; i++)
		size += MAXALIGN(template->parts[i].literal_len + 1);
	return size;
}

/*
 * Put what a row's rendering reads into one piece of memory, in the order in
 * which it reads it.  With many connections a transaction finds none of it in
 * the processor's cache, so that its place matters more than its size.
 */
static void
lay_out(Tracker *tracker)
{
	TrackedTag *tags = tracker->tags;
	int		   *groups = palloc(sizeof(int) * Max(1, tracker->ntags));
	Size		size = MAXALIGN(sizeof(TrackedTag) * tracker->ntags);
	TrackedTag *tag;
	char	   *at;

	compile_groups(tracker, groups);
	for (int i = 0; i < tracker->ntags; i++)
		size += template_size(tags[i].template);
	at = palloc(Max(1, size));
	tag = tracker->tags = (TrackedTag *) at;
	at += MAXALIGN(sizeof(TrackedTag) * tracker->ntags);
	for (int g = 0; g < tracker->ngroups; g++)
	{
		tracker->groups[g].tags = tag;
		for (int i = 0; i < tracker->ntags; i++)
		{
			TagTemplate *template;

			if (groups[i] != g)
				continue;
			*tag = tags[i];
			template = tag->template = place(&at, tag->template, sizeof(TagTemplate));
			template->parts = place(&at, template->parts, sizeof(TagPart) * template->nparts);
			tag->refs = place(&at, tag->refs, sizeof(ValueRef *) * template->nparts);
			for (int j = 0; j < template->nparts; j++)
				template->parts[j].literal = place(&at, template->parts[j].literal,
												   template->parts[j].literal_len + 1);
			tag++;
		}
	}
}

/* Of a parent: a row with another key leads everything elsewhere. */
static void
compile_key(Compiler *compiler, Jsonb *config)
{
	Tracker    *tracker = compiler->tracker;
	JsonbValue *key = get_field(config, "key");
	JsonbValue *declared = get_field(config, "declared");

	if (key == NULL)
		return;
	tracker->key = find_attno(compiler, as_string(key, "key"));
	tracker->declared = declared && declared->type == jbvBool && declared->val.boolean;
	/* where it is declared, those that refer to the row have to follow, and tell */
	if (!tracker->declared)
		tracker->always = bms_add_member(tracker->always, tracker->key);
	tracker->max_attno = Max(tracker->max_attno, tracker->key);
}

/*
 * Compile a configuration for a table.  Everything is allocated in "context",
 * which the caller owns; the caller holds a lock on the table.  Errors:
 * ERRCODE_INVALID_PARAMETER_VALUE, ERRCODE_UNDEFINED_COLUMN,
 * ERRCODE_DATATYPE_MISMATCH, each with what to do.
 */
Tracker *
cc_config_compile(Relation rel, Jsonb *config, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Tracker    *tracker = palloc0(sizeof(Tracker));
	Compiler	compiler = {.tracker = tracker,.rel = rel};
	JsonbValue *tenant;
	JsonbValue *tags;

	if (!JB_ROOT_IS_OBJECT(config))
		config_error("it has to be an object");
	tracker->relid = RelationGetRelid(rel);
	tracker->context = context;
	tracker->natts = RelationGetDescr(rel)->natts;
	compiler.columns = get_object(config, "columns");
	compiler.zones = get_object(config, "zone");
	compiler.profiles = get_object(config, "profiles");

	tenant = get_field(config, "tenant");
	if (tenant)
	{
		tracker->tenant = make_ref(&compiler, as_string(tenant, "tenant"));
		tracker->always = add_ref_attnos(tracker, tracker->always, tracker->tenant);
	}
	compile_deleted(&compiler, config);
	compile_counters(&compiler, config);
	compile_key(&compiler, config);

	tags = get_field(config, "tags");
	if (tags == NULL || tags->type != jbvBinary || !JsonContainerIsArray(tags->val.binary.data))
		config_error("\"tags\" has to be an array");
	tracker->tags = palloc0(sizeof(TrackedTag) *
							Max(1, JsonContainerSize(tags->val.binary.data)));
	for (uint32 i = 0; i < JsonContainerSize(tags->val.binary.data); i++)
	{
		compile_tag(&compiler, &tracker->tags[i],
					getIthJsonbValueFromContainer(tags->val.binary.data, i));
		tracker->ntags++;
	}
	compile_compared(&compiler, config);
	lay_out(tracker);
	MemoryContextSwitchTo(old);
	return tracker;
}
