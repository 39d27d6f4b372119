-- clinicache: tag builders for TypeScript, made from the templates that tracked tables emit.
--
--   tag_templates -> _ts_parts (literals and placeholders) -> _ts_templates (names, shapes) -> _ts_builder (one function)
--                                                                                         -> typescript (the module)
--
-- What a builder does has to be what clinicache.tag() does: src/tag_template.c, src/tag_value.c.
-- Two templates that differ in the names of placeholders only, patient:{id} and patient:{patient}, share a builder.

CREATE FUNCTION clinicache._ts_string(word text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT chr(39) || replace(replace(replace(replace(replace(replace(word, chr(92), chr(92) || chr(92)), chr(39), chr(92) || chr(39)),
           chr(10), chr(92) || 'n'), chr(13), chr(92) || 'r'), chr(8232), chr(92) || 'u2028'), chr(8233), chr(92) || 'u2029') || chr(39)
$$;
COMMENT ON FUNCTION clinicache._ts_string(text) IS 'Internal: a text as TypeScript string';

CREATE FUNCTION clinicache._ts_literal(word text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT replace(replace(replace(replace(word, chr(92), chr(92) || chr(92)), '`', chr(92) || '`'), '$', chr(92) || '$'), chr(13), chr(92) || 'r')
$$;
COMMENT ON FUNCTION clinicache._ts_literal(text) IS 'Internal: a text inside a TypeScript template literal';

CREATE FUNCTION clinicache._ts_key(word text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- '__proto__': ... would set the prototype
  SELECT CASE WHEN word = '__proto__' THEN '[''__proto__'']'
              WHEN word ~ '^[A-Za-z_$][A-Za-z0-9_$]*$' THEN word
              ELSE clinicache._ts_string(word) END
$$;
COMMENT ON FUNCTION clinicache._ts_key(text) IS 'Internal: a name as key of a TypeScript object';

CREATE FUNCTION clinicache._ts_comment(words text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT replace(translate(words, chr(10) || chr(13) || chr(8232) || chr(8233), '    '), '*/', '* /')
$$;
COMMENT ON FUNCTION clinicache._ts_comment(text) IS 'Internal: a text that does not end the comment it stands in';

CREATE FUNCTION clinicache._ts_camel(words text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(string_agg(CASE WHEN w.n = 1 THEN lower(left(w.word, 1) COLLATE "C") ELSE upper(left(w.word, 1) COLLATE "C") END
                             || substr(w.word, 2), '' ORDER BY w.n), '')
  FROM (SELECT p.word, row_number() OVER (ORDER BY p.n) AS n
        FROM regexp_split_to_table(words COLLATE "C", '[^A-Za-z0-9]+') WITH ORDINALITY AS p(word, n) WHERE p.word <> '') AS w
$$;
COMMENT ON FUNCTION clinicache._ts_camel(text) IS 'Internal: words in camel case; what is no ASCII letter or digit parts words';

CREATE FUNCTION clinicache._ts_parts(template text) RETURNS TABLE (n bigint, literal text, name text, filters text[])
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.n, r.m[1], split_part(r.m[2], '|', 1), (string_to_array(r.m[2], '|'))[2:]
  FROM regexp_matches(CASE right(template, 1) WHEN '*' THEN left(template, -1) ELSE template END,
                      '([^{]*)(?:[{]([^}]*)[}])?', 'g') WITH ORDINALITY AS r(m, n)
$$;
COMMENT ON FUNCTION clinicache._ts_parts(text) IS
  'Internal: a template taken apart: literal text and the placeholder after it; name is null after the last. Without the final * of a prefix';

CREATE FUNCTION clinicache._ts_templates() RETURNS TABLE (name text, templates text[], profile text, prefix text, tables text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH template AS MATERIALIZED (
    -- the shortest profile wins
    SELECT t.template, t.prefix, (array_agg(t.profile ORDER BY p.revalidate, t.profile COLLATE "C"))[1] AS profile,
           array_agg(DISTINCT r::text COLLATE "C") AS tables
    FROM clinicache.tag_templates AS t CROSS JOIN LATERAL unnest(t.tables) AS r LEFT JOIN clinicache.profile AS p ON p.name = t.profile
    GROUP BY t.template, t.prefix),
  shaped AS (
    -- placeholders by number: where the same one stands twice is part of the shape
    SELECT t.*, s.shape || CASE right(t.template, 1) WHEN '*' THEN '*' ELSE '' END AS shape, s.names
    FROM template AS t
    CROSS JOIN LATERAL (
      SELECT string_agg(p.literal || CASE WHEN p.name IS NULL THEN ''
                                          ELSE '{' || array_position(u.names, p.name) || '|' || array_to_string(p.filters, '|') || '}' END, '' ORDER BY p.n) AS shape,
             u.names
      FROM clinicache._ts_parts(t.template) AS p,
           (SELECT coalesce(array_agg(f.name ORDER BY f.n), '{}') AS names
            FROM (SELECT q.name, min(q.n) AS n FROM clinicache._ts_parts(t.template) AS q WHERE q.name IS NOT NULL GROUP BY q.name) AS f) AS u
      GROUP BY u.names) AS s),
  -- one name in two places, x:{a}:{b} and x:{b}:{a}: a builder each
  clashing AS (
    SELECT DISTINCT a.shape FROM shaped AS a JOIN shaped AS b USING (shape)
    CROSS JOIN LATERAL unnest(a.names) WITH ORDINALITY AS x(name, n) JOIN LATERAL unnest(b.names) WITH ORDINALITY AS y(name, n) ON y.name = x.name
    WHERE x.n <> y.n),
  builder AS (
    SELECT array_agg(s.template ORDER BY s.template COLLATE "C") AS templates, min(s.prefix) AS prefix,
           (array_agg(s.profile ORDER BY p.revalidate, s.profile COLLATE "C"))[1] AS profile,
           (SELECT array_agg(DISTINCT r COLLATE "C") FROM shaped AS a, unnest(a.tables) AS r WHERE a.shape = s.shape
              AND (s.template_key IS NULL OR a.template = s.template_key)) AS tables
    FROM (SELECT z.*, CASE WHEN c.shape IS NOT NULL THEN z.template END AS template_key FROM shaped AS z LEFT JOIN clashing AS c USING (shape)) AS s
    LEFT JOIN clinicache.profile AS p ON p.name = s.profile
    GROUP BY s.shape, s.template_key),
  named AS (
    SELECT b.*, coalesce(nullif(w.literals, ''), nullif(w.placeholders, ''), 'tag') AS short, w.placeholders
    FROM builder AS b
    CROSS JOIN LATERAL (
      SELECT clinicache._ts_camel(string_agg(p.literal, ' ' ORDER BY p.n)) AS literals,
             clinicache._ts_camel('by ' || coalesce(string_agg(p.name || ' ' || array_to_string(p.filters, ' '), ' ' ORDER BY p.n), '')) AS placeholders
      FROM clinicache._ts_parts(b.templates[1]) AS p) AS w),
  -- two of one name: with their placeholders; still two: with a number
  long AS (
    SELECT n.*, CASE WHEN count(*) OVER (PARTITION BY n.short) = 1 THEN n.short
                     WHEN right(n.templates[1], 1) = '*' THEN n.short || 'Prefix'
                     WHEN n.placeholders IN ('by', n.short) THEN n.short
                     ELSE n.short || upper(left(n.placeholders, 1)) || substr(n.placeholders, 2) END AS wanted
    FROM named AS n),
  numbered AS (
    SELECT l.*, row_number() OVER (PARTITION BY l.wanted ORDER BY l.templates[1] COLLATE "C") AS n FROM long AS l)
  SELECT CASE WHEN d.wanted ~ '^[0-9]' THEN '_' ELSE '' END || d.wanted || CASE d.n WHEN 1 THEN '' ELSE '_' || d.n END,
         d.templates, d.profile, d.prefix, d.tables
  FROM numbered AS d
  ORDER BY d.wanted COLLATE "C", d.n
$$;
COMMENT ON FUNCTION clinicache._ts_templates() IS
  'Internal: builders: their names and the templates of each, which differ in the names of placeholders only';

CREATE FUNCTION clinicache._ts_argument(names text[]) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN cardinality(names) = 1 THEN a.list ELSE 'either(' || a.list || ')' END
  FROM (SELECT string_agg(CASE WHEN n.name ~ '^[A-Za-z_$][A-Za-z0-9_$]*$' THEN 'args.' || n.name
                               ELSE 'args[' || clinicache._ts_string(n.name) || ']' END, ', ' ORDER BY n.n) AS list
        FROM unnest(names) WITH ORDINALITY AS n(name, n)) AS a
$$;
COMMENT ON FUNCTION clinicache._ts_argument(text[]) IS 'Internal: the argument, under whichever of its names it was given';

CREATE FUNCTION clinicache._ts_builder(templates text[], prefix text) RETURNS TABLE (args text, body text)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  WITH part AS (
    SELECT t.n AS variant, p.n, p.literal, p.name, p.filters
    FROM unnest(templates) WITH ORDINALITY AS t(template, n), clinicache._ts_parts(t.template) AS p),
  argument AS (
    -- of all variants, since the shape, with the filters, is one
    SELECT a.variant, a.name, min(a.n) AS n, bool_or(a.filters[1] IN ('date', 'month')) AS is_day
    FROM part AS a WHERE a.name IS NOT NULL GROUP BY a.variant, a.name),
  variant AS (
    SELECT v.variant,
           (SELECT string_agg(clinicache._ts_key(a.name) || ': ' || CASE WHEN a.is_day THEN 'Day' ELSE 'Value' END, '; ' ORDER BY a.n)
            FROM argument AS a WHERE a.variant = v.variant)
           || coalesce((SELECT string_agg('; ' || clinicache._ts_key(o.name) || '?: undefined', '' ORDER BY o.name COLLATE "C")
                        FROM (SELECT DISTINCT a.name FROM argument AS a
                              WHERE a.name NOT IN (SELECT m.name FROM argument AS m WHERE m.variant = v.variant)) AS o), '') AS fields
    FROM (SELECT DISTINCT variant FROM part) AS v),
  piece AS (
    SELECT p.n, min(p.literal) FILTER (WHERE p.variant = 1) AS literal,
           array_agg(DISTINCT p.name COLLATE "C") FILTER (WHERE p.name IS NOT NULL) AS names
    FROM part AS p GROUP BY p.n),
  value AS (
    SELECT p.n, p.literal, f.filters,
           CASE f.filters[1] WHEN 'date' THEN 'day(' WHEN 'month' THEN 'month(' ELSE 'text(' END || clinicache._ts_argument(p.names) || ')' AS plain
    FROM piece AS p JOIN part AS f ON f.variant = 1 AND f.n = p.n)
  SELECT (SELECT string_agg('{ ' || v.fields || ' }', ' | ' ORDER BY v.variant) FROM variant AS v),
         format('%s(%s, %s)', CASE right(templates[1], 1) WHEN '*' THEN 'prefixLabels' ELSE 'labels' END,
                (SELECT CASE WHEN bool_or(v.plain IS NOT NULL)
                             THEN '`' || string_agg(clinicache._ts_literal(v.literal)
                                  || coalesce('${' || (SELECT coalesce(string_agg(x.filter || '(', '' ORDER BY x.n DESC), '')
                                                      FROM unnest(v.filters) WITH ORDINALITY AS x(filter, n) WHERE x.filter IN ('lower', 'hash'))
                                              || v.plain
                                              || (SELECT repeat(')', count(*)::int) FROM unnest(v.filters) AS x(filter) WHERE x.filter IN ('lower', 'hash')) || '}', ''),
                                  '' ORDER BY v.n) || '`'
                             ELSE clinicache._ts_string(string_agg(v.literal, '' ORDER BY v.n)) END
                 FROM value AS v),
                clinicache._ts_string(prefix))
$$;
COMMENT ON FUNCTION clinicache._ts_builder(text[], text) IS
  'Internal: type of the arguments (null: none) and the expression that makes the labels, for templates of one shape';

CREATE FUNCTION clinicache._ts_lower() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- lower() is by the database's collation: in C ASCII only; by libc each character for itself; by ICU as JavaScript does it
  SELECT CASE WHEN d.datlocprovider = 'i' THEN 'value.toLowerCase()'
              WHEN d.datctype IN ('C', 'POSIX') THEN 'value.replace(/[A-Z]/g, (letter) => letter.toLowerCase())'
              ELSE 'Array.from(value, (letter) => (letter === ''' || U&'\0130' || ''' ? ''i'' : letter.toLowerCase())).join('''')' END
  FROM pg_database AS d WHERE d.datname = current_database()
$$;
COMMENT ON FUNCTION clinicache._ts_lower() IS 'Internal: TypeScript for filter lower, as this database does it';

CREATE FUNCTION clinicache._ts_helpers(used text) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(h.code, chr(10) || chr(10) ORDER BY h.n)
  FROM (VALUES
    (1, 'hash(', $ts$function hash(value: string): string {
  return createHash('sha256').update(value, 'utf8').digest('hex').slice(0, 16);
}$ts$),
    (2, 'text(', $ts$/** As PostgreSQL prints it: numbers without an exponent. */
function text(value: Value): string {
  if (typeof value !== 'number') return String(value);
  if (!Number.isFinite(value)) throw new RangeError(`${value} makes no tag`);
  const [digits = '', exponent] = String(value).split('e');
  if (exponent === undefined) return digits;
  const sign = digits.startsWith('-') ? '-' : '';
  const [whole = '', fraction = ''] = digits.slice(sign.length).split('.');
  const shift = Number(exponent);
  return shift < 0
    ? `${sign}0.${'0'.repeat(-shift - 1)}${whole}${fraction}`
    : `${sign}${whole}${fraction.padEnd(shift, '0')}`;
}$ts$),
    (3, 'day(', $ts$function day(value: Day): string {
  const time = new Date(`${value}T00:00:00Z`);
  if (!/^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(value) || value < '0001' || !Number.isFinite(time.getTime()) || !time.toISOString().startsWith(value))
    throw new RangeError(`'${value}' is no day: give a local day such as 2026-11-21`);
  return value;
}$ts$),
    (4, 'month(', $ts$/** A month, 2026-11, or the month of a day. */
function month(value: Day): string {
  return /^[0-9]{4}-(0[1-9]|1[0-2])$/.test(value) ? value : day(value).slice(0, 7);
}$ts$),
    (5, 'lower(', $ts$/** As this database's lower() does it. */
function lower(value: string): string {
  return $ts$ || clinicache._ts_lower() || $ts$;
}$ts$),
    (6, 'either(', $ts$function either<T>(...values: (T | undefined)[]): T {
  for (const value of values) if (value !== undefined) return value;
  throw new TypeError('an argument is missing');
}$ts$),
    (7, 'cut(', $ts$/** The first 239 UTF-16 units, no character halved. */
function cut(label: string): string {
  const unit = label.charCodeAt(238);
  return label.slice(0, unit >= 0xd800 && unit <= 0xdbff ? 238 : 239);
}$ts$),
    (8, 'labels(', $ts$/** What a read is labelled with: the tag, its prefix, and what reset drops. Caches ignore longer tags than 256. */
export function labels(tag: string, prefix: string): string[] {
  const short = tag.length > 256 ? `${cut(tag)}~${hash(tag)}` : tag;
  return Array.from(new Set([short, `${prefix}*`, '*']));
}$ts$),
    (9, 'prefixLabels(', $ts$/** Of a template that ends in *: the prefix that is emitted takes the place of the tag. */
export function prefixLabels(emitted: string, prefix: string): string[] {
  return Array.from(new Set([`${cut(emitted)}*`, `${prefix}*`, '*']));
}$ts$)) AS h(n, sign, code)
  WHERE strpos(used || ' labels( cut( hash(' || CASE WHEN strpos(used, 'month(') > 0 THEN ' day(' ELSE '' END, h.sign) > 0
$$;
COMMENT ON FUNCTION clinicache._ts_helpers(text) IS 'Internal: the functions that builders call, as far as they do';

CREATE FUNCTION clinicache._ts_lifetimes() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(format('  %s: { %s },', clinicache._ts_key(p.name),
                           concat_ws(', ', 'stale: ' || p.stale, 'revalidate: ' || p.revalidate, 'expire: ' || p.expire)),
                    chr(10) ORDER BY p.revalidate, p.name COLLATE "C")
  FROM clinicache.profile AS p
$$;
COMMENT ON FUNCTION clinicache._ts_lifetimes() IS 'Internal: profiles as members of a TypeScript object';

CREATE FUNCTION clinicache.typescript() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  newline  text := chr(10);
  builders text;
  infos    text;
BEGIN
  SELECT string_agg(format('  /** %s (%s) of %s */%s  %s: (%s): string[] => %s,',
                           clinicache._ts_comment(array_to_string(t.templates, ', ')), clinicache._ts_comment(t.profile),
                           clinicache._ts_comment(array_to_string(t.tables, ', ')), newline,
                           t.name, coalesce('args: ' || b.args, ''), b.body), newline ORDER BY t.n),
         string_agg(format('  %s: { templates: [%s], profile: %s, prefix: %s },', t.name,
                           (SELECT string_agg(clinicache._ts_string(u), ', ') FROM unnest(t.templates) AS u),
                           clinicache._ts_string(t.profile), clinicache._ts_string(t.prefix)), newline ORDER BY t.n)
    INTO builders, infos
    FROM clinicache._ts_templates() WITH ORDINALITY AS t(name, templates, profile, prefix, tables, n)
    CROSS JOIN LATERAL clinicache._ts_builder(t.templates, t.prefix) AS b;
  RETURN $ts$// Cache tags, made by SELECT clinicache.typescript() from the tables that are tracked. Do not edit: make it anew when tracking changes.
//
//   tags.xxx({ ... })      the labels of a read: its tag, the prefix that may be dropped in the tag's stead, and '*' (reset)
//   templates.xxx          the templates behind it, their profile and prefix
//   profiles.xxx           lifetimes in seconds
//
// When a message of clinicache arrives, expire its tags, `${prefix}*` for each of its prefixes, and '*' on reset: labelFor says which.

import { createHash } from 'node:crypto';

/** Give numbers as the column has them, uuids in lower case. */
export type Value = string | number | bigint | boolean;

/** A local day, 2026-11-21, in the time zone of the clinic. */
export type Day = string;

$ts$ || clinicache._ts_helpers(coalesce(builders, ''))
      || $ts$

export const tags = {
$ts$ || coalesce(builders || newline, '') || $ts$};

export const templates = {
$ts$ || coalesce(infos || newline, '') || $ts$} as const;

export const profiles = {
$ts$ || coalesce(clinicache._ts_lifetimes() || newline, '') || $ts$} as const;
$ts$ || CASE WHEN builders IS NOT NULL THEN $ts$
/** What all tags of a builder begin with. */
export function prefixFor(name: keyof typeof tags): string {
  return templates[name].prefix;
}
$ts$ ELSE '' END || $ts$
/** The label that a prefix of a message drops. */
export function labelFor(prefix: string): string {
  return `${prefix}*`;
}
$ts$;
END
$$;
COMMENT ON FUNCTION clinicache.typescript() IS
  'A TypeScript module with a function for each template of tracked tables, which gives what to label a read with and does what clinicache.tag() does; and the cache profiles. Make it anew when tracking changes';
