-- The search in Postgres: for where there is no OpenSearch, and for while it is away.
--
-- Run with search_path = <the views' schema>, public. The roles prelude_owner, prelude_app and
-- prelude_proj and the extensions are there. putSearch writes the rows.

-- The table has no row-level security: its operators (@@, <%, like) are not leakproof, so under a
-- policy no index would be used (0.5 → 349 ms). prelude_app has no right on it: it asks the two
-- functions below, which look at the org themselves.
create table preset_search (
    org         text        not null,
    id          text        not null,
    owner       text        not null,
    scope       text        not null,
    status      text        not null,
    language    text        not null default '',
    tags        text[]      not null default '{}',
    name        text        not null,
    description text        not null default '',
    tsv         tsvector    not null,
    tri         text        not null,
    updated_at  timestamptz not null,
    deleted     boolean     not null default false,
    pos         bigint      not null
);
-- Every question reads all of an index's list of pending entries: at its usual 4 MB that is 3 ms
-- each time.
create index preset_search_words on preset_search using gin (org, tsv)
    with (gin_pending_list_limit = 128);
create index preset_search_pieces on preset_search using gin (org, tri public.gin_trgm_ops)
    with (gin_pending_list_limit = 128);
create index preset_search_newest on preset_search (org, updated_at desc, id);
alter table preset_search add primary key (org, id); -- the last: see views.sql

-- English with the accents taken off, for highlights; rows and questions are folded beforehand.
create text search configuration preset_search_english (copy = pg_catalog.english);
alter text search configuration preset_search_english
    alter mapping for word, hword, hword_part with public.unaccent, english_stem;

-- The one spelling of a text that is compared: small, without accents, and with the names that the
-- parser would tear apart (c++, c#, .net, node.js, e-mail) as words. It and the two that write a row
-- are in plpgsql, which keeps its plans: in SQL they were planned anew for each row, which took five
-- times as long.
create function preset_search_fold(t text) returns text
language plpgsql immutable strict parallel safe as $$
begin
    return regexp_replace(regexp_replace(regexp_replace(
        replace(replace(lower(public.unaccent('public.unaccent'::regdictionary, t)),
            'c++', 'cplusplus'), 'c#', 'csharp'),
        '(^|[^[:alnum:]])\.net\M', '\1dotnet', 'g'),
        '\.js\M', 'js', 'g'), '\me-(?=[a-z])', 'e', 'g');
end $$;

-- What is searched by words. The name counts most; it is there stemmed and as it is, for prefixes.
create function preset_search_tsv(name text, description text, tags text[], instructions text)
returns tsvector language plpgsql immutable parallel safe as $$
declare
    folded text := preset_search_fold(name);
begin
    return setweight(to_tsvector('english', folded), 'A')
        || setweight(to_tsvector('simple', folded), 'A')
        || setweight(to_tsvector('english', preset_search_fold(
               description || ' ' || array_to_string(tags, ' '))), 'B')
        || setweight(to_tsvector('english', preset_search_fold(left(instructions, 100000))), 'D');
end $$;

-- What is searched by pieces of words: for typing errors, and for scripts without spaces.
create function preset_search_tri(
    name text, description text, tags text[], language text, instructions text)
returns text language plpgsql immutable parallel safe as $$
begin
    return preset_search_fold(name || ' ' || description || ' ' || array_to_string(tags, ' ')
        || case when left(language, 2) in ('zh', 'ja', 'ko', 'th')
                then ' ' || left(instructions, 20000) else '' end);
end $$;

-- The words of a question. Of these, those that only make it a question are left out if others
-- remain.
create function preset_search_words(q text) returns text[]
language sql immutable parallel safe as $$
    with word as (
        select x, n, x = any ('{i,me,my,we,our,us,you,your,what,which,who,when,where,why,how,can,
                could,do,does,did,should,would,please,some,any,want,need,about,there,help}')
            or to_tsvector('english', x) = '' as idle
        from regexp_split_to_table(preset_search_fold(left(q, 1000)), '[^[:alnum:]]+')
            with ordinality as w (x, n)
        where x <> '' limit 32)
    select coalesce(array_agg(x order by n) filter (where not idle), array_agg(x order by n), '{}')
    from word
$$;

-- One term for each word, joined by "and" or "or". With prefix, a word may also be the beginning of
-- one.
create function preset_search_query(words text[], prefix boolean, every boolean) returns tsquery
language plpgsql immutable parallel safe as $$
declare
    whole tsquery := '';
    term tsquery;
    w text;
begin
    foreach w in array words loop
        term := coalesce((select string_agg(quote_literal(l), ' & ') from
            unnest(tsvector_to_array(to_tsvector('english', w))) l), '')::tsquery;
        if prefix then
            term := term || (quote_literal(w) || ':*')::tsquery;
        end if;
        whole := case when every then whole && term else whole || term end;
    end loop;
    return whole;
end $$;

-- The presets that match, with their scores: those with every word or its beginning; if they are
-- few, whatever resembles the question. At most 5,000 of the newest are ranked. For the two
-- functions below.
create function preset_search_match(
    org_id text, user_id text, q text, want_scope text, want_language text, want_status text)
returns table (id text, score double precision)
language plpgsql stable as $$
#variable_conflict use_column
declare
    few constant int := 20;
    most constant int := 5000;
    folded text := preset_search_fold(left(q, 1000));
    words text[] := preset_search_words(q);
    phrase text := array_to_string(words, ' ');
    q_begin tsquery := preset_search_query(words, true, true);
    q_every tsquery := preset_search_query(words, false, true);
    q_any tsquery := preset_search_query(words, false, false);
    piece text := '%' || regexp_replace(folded, '([\\%_])', '\\\1', 'g') || '%';
    found text[];
begin
    found := array(
        select s.id from preset_search s
        where s.org = org_id and s.tsv @@ q_begin and not s.deleted
            and (s.scope = 'org' or s.owner = user_id)
        order by s.updated_at desc limit most);
    if cardinality(found) < few and length(folded) < 3 then
        -- No index of pieces helps with so few letters; in Chinese they may be the whole question.
        found := found || array(
            select s.id from preset_search s
            where s.org = org_id and not s.deleted and (s.scope = 'org' or s.owner = user_id)
                and strpos(s.tri, folded) > 0
            order by s.updated_at desc limit most);
    elsif cardinality(found) < few then
        found := array(
            select s.id from preset_search s
            where s.org = org_id and not s.deleted and (s.scope = 'org' or s.owner = user_id)
                and (s.tsv @@ q_begin or s.tsv @@ q_any or phrase <% s.tri or s.tri like piece)
            order by s.updated_at desc limit most);
    end if;
    return query
        select s.id, (ts_rank('{0.1,0.2,0.5,1.0}', s.tsv, q_any, 1) * 4
            + case when s.tsv @@ q_every then 0.6 else 0 end
            + ts_rank('{0.1,0.2,0.5,1.0}', s.tsv, q_begin, 1) * 2
            + word_similarity(phrase, s.tri) * 0.9
            + case when strict_word_similarity(phrase, preset_search_fold(s.name)) > 0.5
                then 0.3 else 0 end
            + case when strpos(s.tri, folded) > 0 then 0.5 else 0 end)::double precision
        from preset_search s
        where s.org = org_id and s.id = any (found)
            and (want_scope = '' or s.scope = want_scope)
            and (want_language = '' or s.language = want_language)
            and (want_status = '' or s.status = want_status);
end $$;

-- A text with what the question hit in <mark>, the rest HTML-escaped; null if nothing is.
create function preset_search_mark(t text, query tsquery, options text) returns text
language sql stable parallel safe as $$
    select case when strpos(m, u&'\E000') > 0 then
        replace(replace(replace(replace(replace(replace(replace(m, '&', '&amp;'), '<', '&lt;'),
            '>', '&gt;'), '"', '&#34;'), '''', '&#39;'),
            u&'\E000', '<mark>'), u&'\E001', '</mark>') end
    from ts_headline('preset_search_english', translate(t, u&'\E000\E001', ''), query,
        u&'StartSel="\E000", StopSel="\E001", ' || options) as m
$$;

-- preset_search_find answers a question within the org of the setting app.org_id, and nothing
-- without one: the org's presets and the user's own that match q, best first; an empty q: the
-- newest first. Empty or null filters let all pass; tags must all be there.
create function preset_search_find(
    q text, user_id text, tags text[], scope text, language text, status text, lim int, off int)
returns table (id text, score double precision, name_highlight text, description_highlight text)
language plpgsql stable security definer as $$
#variable_conflict use_column
declare
    org_id text := nullif(current_setting('app.org_id', true), '');
    marks tsquery := preset_search_query(preset_search_words(coalesce(q, '')), true, false);
begin
    if org_id is null then
        return;
    end if;
    if btrim(coalesce(q, '')) = '' then
        return query
            select s.id, 0::double precision, null::text, null::text from preset_search s
            where s.org = org_id and not s.deleted
                and (s.scope = 'org' or s.owner = $2)
                and (coalesce($3, '{}') = '{}' or s.tags @> $3)
                and (coalesce($4, '') = '' or s.scope = $4)
                and (coalesce($5, '') = '' or s.language = $5)
                and (coalesce($6, '') = '' or s.status = $6)
            order by s.updated_at desc, s.id limit $7 offset $8;
        return;
    end if;
    return query
        with page as (
            select s.id, m.score, s.name, s.description, s.updated_at
            from preset_search_match(
                org_id, $2, q, coalesce($4, ''), coalesce($5, ''), coalesce($6, '')) m
            join preset_search s on s.org = org_id and s.id = m.id
            where coalesce($3, '{}') = '{}' or s.tags @> $3
            order by m.score desc, s.updated_at desc, s.id limit $7 offset $8)
        select p.id, p.score, preset_search_mark(p.name, marks, 'HighlightAll=true'),
            preset_search_mark(p.description, marks, 'MaxFragments=2, MaxWords=24, MinWords=8')
        from page p order by p.score desc, p.updated_at desc, p.id;
end $$;

-- preset_search_facets counts the tags of what preset_search_find finds without its filter by tags.
create function preset_search_facets(
    q text, user_id text, scope text, language text, status text, lim int)
returns table (tag text, hits bigint)
language plpgsql stable security definer as $$
#variable_conflict use_column
declare
    org_id text := nullif(current_setting('app.org_id', true), '');
begin
    if org_id is null then
        return;
    end if;
    return query
        select t.tag, count(*) from preset_search s cross join unnest(s.tags) as t (tag)
        where s.org = org_id and not s.deleted
            and (s.scope = 'org' or s.owner = $2)
            and (coalesce($3, '') = '' or s.scope = $3)
            and (coalesce($4, '') = '' or s.language = $4)
            and (coalesce($5, '') = '' or s.status = $5)
            and (btrim(coalesce(q, '')) = '' or s.id in (
                select m.id from preset_search_match(org_id, $2, q, '', '', '') m))
        group by t.tag order by count(*) desc, t.tag limit $6;
end $$;

-- What runs as its owner looks for names in a fixed path, temporary tables last: nobody can put a
-- table of theirs in front.
do $$
declare
    f text;
    schema text := quote_ident(current_schema());
begin
    execute 'grant usage, create on schema ' || schema || ' to prelude_owner';
    execute 'grant usage on schema ' || schema || ' to prelude_app, prelude_proj';
    for f in
        select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace = current_schema()::regnamespace and p.proname like 'preset\_search\_%'
    loop
        execute format('alter function %s owner to prelude_owner', f);
    end loop;
    foreach f in array '{preset_search_find,preset_search_facets}'::text[] loop
        execute format('alter function %s set search_path = %s, public, pg_temp', f, schema);
    end loop;
end $$;
alter function preset_search_match set pg_trgm.word_similarity_threshold = 0.45;
alter table preset_search owner to prelude_owner;
alter text search configuration preset_search_english owner to prelude_owner;
revoke all on preset_search from public;
revoke all on function preset_search_match, preset_search_find, preset_search_facets from public;
grant select, insert, update, delete on preset_search to prelude_proj;
grant execute on function preset_search_find, preset_search_facets to prelude_app;
