-- PostgreSQL lets PUBLIC execute every new function. A default privilege that names a schema can only add to the
-- global default, so that the one of revision 0001 took nothing away: this one names no schema.
alter default privileges revoke execute on functions from public;

-- Functions that exist already, and where each of them finds its names. A session's temporary schema is searched
-- first for tables and types unless the path names it: last, so that no temporary object stands in for one of
-- pg_catalog or public while a function runs with its owner's rights. Functions without a path of their own keep
-- none where they must be inlined (first_id); they run with the rights of their caller.
do $$
declare
    routine record;
begin
    for routine in
        select p.oid::regprocedure as name, p.prosecdef or exists (
                   select from unnest(p.proconfig) as c(setting) where c.setting like 'search_path=%') as has_path
        from pg_proc p
        where p.pronamespace = 'public'::regnamespace and p.proowner = current_user::regrole
          and not exists (select from pg_depend d where d.objid = p.oid and d.classid = 'pg_proc'::regclass
                          and d.deptype = 'e')
    loop
        execute format('revoke all on routine %s from public', routine.name);
        if routine.has_path then
            execute format('alter routine %s set search_path = pg_catalog, public, pg_temp', routine.name);
        end if;
    end loop;
end $$;
