-- Bounds on what a provider's answer leaves in a payment. References of more than 512 characters were taken by earlier
-- revisions: where there are such rows they stay as they are and can still be settled.
do $$
declare
    kept_before text := '';
begin
    if exists (select from payment_transactions where char_length(provider_reference) > 512) then
        kept_before := format(' or created_at <= %L::timestamptz', now());
    end if;
    execute 'alter table payment_transactions add constraint ck_payment_transactions_provider_reference'
        ' check (char_length(provider_reference) <= 512' || kept_before || ')';
end $$;

-- What no browser may be sent to is taken back, from payments of any state.
update payment_transactions set redirect_url = null
where redirect_url is not null
  and (char_length(redirect_url) > 2048
       or redirect_url !~ '^[Hh][Tt][Tt][Pp][Ss]?://[!-\[\]-~]+$'
       or redirect_url ~ '^[^/]*//[^/?#]*@');

alter table payment_transactions add constraint ck_payment_transactions_redirect_url
    check (char_length(redirect_url) <= 2048 and redirect_url ~ '^[Hh][Tt][Tt][Pp][Ss]?://');
