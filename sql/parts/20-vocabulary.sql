-- clinicache: the vocabulary that clinic applications share, as data.
-- Entities, templates, candidate column names, status classes and cache profiles; see COMMENT ON TABLE clinicache.entity.
-- A template is [template, profile] or an object; one that ends in * emits a prefix; "edge": "day" is also emitted at the
-- tenant's midnight.  The tests count 26 entities and 162 templates.

INSERT INTO clinicache.profile (name, stale, revalidate, expire, builtin) VALUES
  ('seconds', 30, 1, 60, true),
  ('minutes', 300, 60, 3600, true),
  ('hours', 300, 3600, 86400, true),
  ('days', 300, 86400, 604800, true),
  ('weeks', 300, 604800, 2592000, true),
  ('max', 300, 2592000, 31536000, true),
  ('default', 300, 900, NULL, true),
  ('realtime', 10, 30, 300, true),
  ('short', 300, 600, 1800, true),
  ('medium', 3600, 7200, 86400, true),
  ('long', 86400, 172800, 604800, true),
  ('medicalShort', 300, 600, 1800, true),
  ('medicalMedium', 3600, 7200, 86400, true),
  ('medicalLong', 43200, 86400, 604800, true),
  ('reference', 604800, 1209600, 2592000, true);

INSERT INTO clinicache.alias (column_name, candidates, builtin) VALUES
  ('clinic', ARRAY['clinic_id', 'clinicId', 'organization_id', 'hospital_id', 'branch_id', 'practice_id', 'tenant_id']::text[], true),
  ('patient', ARRAY['patient_id', 'client_id', 'clinic_patient_id']::text[], true),
  ('doctor', ARRAY['doctor_id', 'provider_id', 'physician_id', 'practitioner_id']::text[], true);

-- 'live' is no row: it is all that is not cancelled, completed or no_show.
INSERT INTO clinicache.class (name, labels, builtin) VALUES
  ('cancelled', ARRAY['cancelled', 'canceled', 'rejected', 'declined']::text[], true),
  ('completed', ARRAY['completed', 'done', 'finished', 'checked out', 'fulfilled']::text[], true),
  ('no_show', ARRAY['no show', 'noshow', 'missed']::text[], true),
  ('waiting', ARRAY['waiting', 'checked in', 'arrived', 'in queue']::text[], true);

INSERT INTO clinicache.entity (name, tables, tenant, columns, tags, counters, builtin) VALUES
  ('clinic', ARRAY['clinic', 'hospital', 'organization', 'branch', 'practice']::text[], 'id',
   '{"id": []}',
   '[
     ["clinic:{id}", "seconds"], ["clinics:all", "hours"], ["clinic:stats:global", "hours"]
   ]',
   '[]', true),
  ('clinic_setting', ARRAY['clinic_setting', 'setting']::text[], 'clinic',
   '{"clinic": []}',
   '[
     ["clinic:{clinic}:settings", "seconds"], ["clinic:{clinic}:features", "minutes"], ["clinic:{clinic}", "minutes"]
   ]',
   '[]', true),
  ('clinic_member', ARRAY['clinic_member', 'member', 'clinic_user']::text[], 'clinic',
   '{"clinic": [], "user": []}',
   '[
     ["clinic:{clinic}:members", "seconds"], ["user:{user}", "seconds"]
   ]',
   '[]', true),
  ('patient', ARRAY['patient', 'client', 'clinic_patient']::text[], 'clinic',
   '{"id": [], "clinic": [], "created": ["created_at", "registered_at", "hire_date"]}',
   '[
     ["patient:{id}", "seconds"], ["patients:clinic:{clinic}", "minutes"], ["patients:recent:{clinic}", "seconds"],
     ["patients:counts:clinic:{clinic}", "seconds"], ["dashboard:patients:{clinic}", "seconds"],
     ["clinic:{clinic}:counts", "seconds"], ["clinic:{clinic}:dashboard", "seconds"],
     ["admin:dashboard:{clinic}", "seconds"], ["search:patient:{clinic}", "minutes"], ["patients:all", "hours"],
     ["patients:list:*", "minutes"]
   ]',
   '[{"counter": "patients", "by": {"clinic": "clinic"}, "day": "created"}]', true),
  ('doctor', ARRAY['doctor', 'provider', 'physician', 'clinic_doctor']::text[], 'clinic',
   '{"id": [], "clinic": [], "specialty": ["specialty", "specialization"], "status": [], "created": ["created_at", "registered_at", "hire_date"]}',
   '[
     ["doctor:{id}", "seconds"], ["doctors:clinic:{clinic}", "minutes"],
     ["doctors:specialty:{specialty}:clinic:{clinic}", "minutes"], ["clinic:{clinic}:counts", "seconds"],
     ["admin:dashboard:{clinic}", "seconds"], ["search:doctor:{clinic}", "minutes"], ["doctors:all", "hours"],
     ["queue:doctor:{id}", "seconds"], ["doctor:{id}:slots", "seconds"], ["clinic:{clinic}:dashboard", "seconds"],
     ["doctors:list:*", "minutes"]
   ]',
   '[{"counter": "doctors", "by": {"clinic": "clinic"}, "day": "created"}]', true),
  ('staff', ARRAY['staff', 'employee']::text[], 'clinic',
   '{"id": [], "clinic": [], "department": [], "status": [], "created": ["created_at", "registered_at", "hire_date"]}',
   '[
     ["staff:{id}", "seconds"], ["staff:clinic:{clinic}", "minutes"],
     ["staff:department:{department}:clinic:{clinic}", "minutes"], ["clinic:{clinic}:counts", "seconds"],
     ["admin:dashboard:{clinic}", "seconds"], ["staff:all", "hours"], ["clinic:{clinic}:dashboard", "seconds"]
   ]',
   '[{"counter": "staff", "by": {"clinic": "clinic"}, "day": "created"}]', true),
  ('working_days', ARRAY['working_day', 'schedule', 'availability', 'doctor_schedule']::text[], 'clinic',
   '{"clinic": [], "doctor": []}',
   '[
     ["working-days:doctor:{doctor}", "seconds"], ["doctor:{doctor}:working-days", "seconds"],
     ["doctor:{doctor}:slots", "seconds"], ["working-days:clinic:{clinic}", "minutes"],
     ["doctor:{doctor}", "seconds"], ["doctors:clinic:{clinic}", "minutes"]
   ]',
   '[]', true),
  ('department', ARRAY['department']::text[], 'clinic',
   '{"id": [], "clinic": []}',
   '[
     ["department:{id}", "seconds"], ["departments:clinic:{clinic}", "minutes"], ["departments:all", "hours"],
     ["departments", "hours"], ["departments:list:*", "minutes"]
   ]',
   '[]', true),
  ('appointment', ARRAY['appointment', 'visit', 'encounter', 'booking']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": ["patient_id", "client_id"], "doctor": [], "date": ["appointment_date", "start", "starts_at", "scheduled_at", "scheduled_date", "appointment_time"], "status": [], "time": ["appointment_time", "start_time", "time"]}',
   '[
     ["appointment:{id}", "seconds"], ["appointments:patient:{patient}", "seconds"],
     ["patient:{patient}:appointments", "seconds"], ["appointments:doctor:{doctor}", "seconds"],
     ["doctor:{doctor}:appointments", "seconds"], ["doctor:{doctor}:slots", "seconds"],
     ["appointments:date:{date|date}", "seconds"], ["appointments:month:{clinic}:{date|month}", "minutes"],
     ["visits:schedule:{doctor}:{date|date}", "seconds"],
     {"tag": "appointments:today:{clinic}", "window": "today", "time": ["date", "time"], "profile": "seconds"},
     {"tag": "appointments:upcoming:{clinic}", "window": "upcoming", "time": ["date", "time"], "profile": "seconds"},
     {"tag": "appointments:past:{clinic}", "window": "past", "time": ["date", "time"], "profile": "minutes"},
     {"tag": "queue:doctor:{doctor}", "window": "today", "time": ["date", "time"], "profile": "seconds"},
     ["appointments:status:{status}:clinic:{clinic}", "seconds"], ["appointments:clinic:{clinic}", "minutes"],
     ["search:appointment:{clinic}", "minutes"], ["appointments:all", "hours"], ["patient:{patient}", "seconds"],
     {"tag": "clinic:{clinic}:counts", "edge": "day", "profile": "seconds"},
     {"tag": "clinic:{clinic}:dashboard", "edge": "day", "profile": "seconds"},
     {"tag": "admin:dashboard:{clinic}", "edge": "day", "profile": "seconds"},
     {"tag": "dashboard_stats_{patient}", "edge": "day", "profile": "seconds"}
   ]',
   '[{"counter": "appointments", "by": {"clinic": "clinic", "doctor": "doctor", "client": "patient"}, "day": "date", "class": "status"}]', true),
  ('service', ARRAY['service', 'procedure']::text[], 'clinic',
   '{"id": [], "clinic": [], "category": []}',
   '[
     ["service:{id}", "seconds"], ["services:clinic:{clinic}", "minutes"],
     ["services:category:{category}:clinic:{clinic}", "minutes"], ["services:available:clinic:{clinic}", "minutes"],
     ["services:stats:{clinic}", "minutes"], ["services:all", "hours"]
   ]',
   '[]', true),
  ('medical_record', ARRAY['medical_record', 'health_record']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": [], "appointment": []}',
   '[
     ["medical-record:{id}", "seconds"], ["medical-records:patient:{patient}", "seconds"],
     ["patient:{patient}:medical-records", "seconds"], ["medical-records:appointment:{appointment}", "seconds"],
     ["medical-records:clinic:{clinic}", "minutes"], ["medical-records:count:clinic:{clinic}", "minutes"],
     ["patient:{patient}:records", "seconds"]
   ]',
   '[]', true),
  ('diagnosis', ARRAY['diagnosis', 'condition']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": [], "doctor": [], "appointment": [], "medical_record": ["medical_record_id", "medical_id"]}',
   '[
     ["diagnosis:{id}", "seconds"], ["diagnoses:patient:{patient}", "seconds"],
     ["diagnoses:doctor:{doctor}", "minutes"], ["diagnoses:appointment:{appointment}", "seconds"],
     ["diagnoses:medical-record:{medical_record}", "seconds"], ["diagnoses:clinic:{clinic}", "minutes"]
   ]',
   '[]', true),
  ('vital_signs', ARRAY['vital_sign', 'vital']::text[], NULL,
   '{"id": [], "patient": [], "medical_record": ["medical_record_id", "medical_id"]}',
   '[
     ["vital-signs:{id}", "seconds"], ["patient:{patient}:vitals", "seconds"],
     ["medical:vital:patient:{patient}", "seconds"], ["medical:vital:patient:{patient}:latest", "seconds"],
     ["medical:vital:medical:{medical_record}", "seconds"]
   ]',
   '[]', true),
  ('immunization', ARRAY['immunization', 'vaccination']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": [], "vaccine": ["vaccine", "vaccine_id", "code"], "date": [], "status": []}',
   '[
     ["immunization:{id}", "seconds"], ["immunizations:patient:{patient}", "seconds"],
     ["patient:{patient}:immunizations", "seconds"], ["immunizations:vaccine:{vaccine}", "minutes"],
     ["immunizations:clinic:{clinic}", "minutes"], ["vaccinations:patient:{patient}", "seconds"],
     ["vaccinations:counts:{clinic}", "minutes"], ["vaccinations:all", "hours"]
   ]',
   '[]', true),
  ('prescription', ARRAY['prescription', 'medication']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": [], "doctor": [], "medical_record": ["medical_record_id", "medical_id"], "appointment": []}',
   '[
     ["prescription:{id}", "seconds"], ["prescriptions:patient:{patient}", "seconds"],
     ["prescriptions:active:{patient}", "seconds"], ["patient:{patient}:prescriptions", "seconds"],
     ["prescriptions:doctor:{doctor}", "minutes"], ["prescriptions:medical-record:{medical_record}", "seconds"],
     ["appointment:{appointment}:prescriptions", "seconds"]
   ]',
   '[]', true),
  ('lab_test', ARRAY['lab_test', 'lab_result']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": [], "medical_record": ["medical_record_id", "medical_id", "record_id"], "service": []}',
   '[
     ["lab-test:{id}", "seconds"], ["lab-tests:patient:{patient}", "seconds"],
     ["patient:{patient}:lab-tests", "seconds"], ["medical:lab:medical:{medical_record}", "seconds"],
     ["lab-tests:service:{service}", "minutes"], ["lab-tests:clinic:{clinic}", "minutes"]
   ]',
   '[]', true),
  ('growth', ARRAY['growth', 'growth_record', 'growth_measurement']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": []}',
   '[
     ["growth:{id}", "seconds"], ["growth:patient:{patient}", "seconds"], ["growth:patient:{patient}:all", "seconds"],
     ["patient:{patient}:growth", "seconds"], ["growth:percentile:patient:{patient}", "seconds"],
     ["growth:trends:patient:{patient}", "seconds"], ["growth:summary:patient:{patient}", "seconds"],
     ["growth:recent:clinic:{clinic}", "minutes"], ["growth:clinic:{clinic}", "minutes"]
   ]',
   '[]', true),
  ('growth_standard', ARRAY['who_growth_standard', 'growth_standard']::text[], NULL,
   '{"gender": [], "type": ["measurement_type", "type"], "age": ["age_days", "age_in_months"]}',
   '[
     ["growth:who:standards", "max"], ["growth:who:map", "max"], ["growth:who:all", "max"],
     ["growth:who:gender:{gender}", "max"], ["growth:who:type:{type}", "max"], ["growth:who:age:{age}", "max"],
     ["system:who-standards", "max"]
   ]',
   '[]', true),
  ('drug', ARRAY['drug', 'medicine']::text[], NULL,
   '{"id": [], "name": []}',
   '[
     ["drug:{id}", "days"], ["drug:name:{name}", "days"], ["drug:{id}:guidelines", "days"], ["drugs:all", "days"],
     ["system:drugs", "days"]
   ]',
   '[]', true),
  ('payment', ARRAY['payment']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": [], "status": [], "amount": ["amount_paid", "amount", "total_amount"], "date": ["payment_date", "bill_date", "created_at"]}',
   '[
     ["payment:{id}", "seconds"], ["payments:patient:{patient}", "seconds"], ["patient:{patient}:billing", "seconds"],
     ["payments:status:{status}:clinic:{clinic}", "seconds"], ["payments:stats:{clinic}", "minutes"],
     ["payments:recent:{clinic}", "seconds"], ["payments:clinic:{clinic}", "minutes"],
     ["admin:dashboard:{clinic}", "seconds"]
   ]',
   '[{"counter": "payments", "by": {"clinic": "clinic", "client": "patient"}, "day": "date", "class": "status", "sum": "amount"}]', true),
  ('bill', ARRAY['bill', 'billing', 'invoice', 'patient_bill']::text[], 'clinic',
   '{"id": [], "clinic": [], "patient": [], "payment": [], "status": [], "amount": ["due_amount", "total_cost", "amount"], "date": ["due_date", "service_date", "created_at"], "appointment": []}',
   '[
     ["bill:{id}", "seconds"], ["bills:patient:{patient}", "seconds"], ["patient:{patient}:billing", "seconds"],
     ["bills:payment:{payment}", "seconds"], ["bills:clinic:{clinic}", "minutes"],
     ["clinic:{clinic}:bills", "minutes"], ["appointment:{appointment}:bills", "seconds"]
   ]',
   '[{"counter": "bills", "by": {"clinic": "clinic", "client": "patient"}, "day": "date", "class": "status", "sum": "amount"}]', true),
  ('expense', ARRAY['expense']::text[], 'clinic',
   '{"id": [], "clinic": [], "category": [], "date": []}',
   '[
     ["expense:{id}", "seconds"], ["expenses:category:{category}", "minutes"],
     ["expenses:date:{date|date}", "minutes"], ["expenses:clinic:{clinic}", "minutes"]
   ]',
   '[]', true),
  ('rating', ARRAY['rating', 'review']::text[], 'clinic',
   '{"id": [], "clinic": [], "doctor": ["doctor_id", "staff_id"]}',
   '[
     ["doctor:{doctor}:ratings", "minutes"], ["doctor:{doctor}:performance", "minutes"]
   ]',
   '[]', true),
  ('user', ARRAY['user']::text[], NULL,
   '{"id": []}',
   '[
     ["user:{id}", "seconds"]
   ]',
   '[]', true),
  ('notification', ARRAY['notification']::text[], NULL,
   '{"id": [], "user": []}',
   '[
     ["user:{user}:notifications", "seconds"]
   ]',
   '[]', true),
  ('audit_log', ARRAY['audit_log', 'activity']::text[], 'clinic',
   '{"clinic": [], "user": []}',
   '[
     ["admin:activity:{user}", "seconds"], ["admin:activity:clinic:{clinic}", "seconds"],
     ["clinic:{clinic}:activity", "seconds"]
   ]',
   '[]', true);
