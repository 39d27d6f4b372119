-- What Prisma would have made of a small clinic application.
CREATE TYPE "AppointmentStatus" AS ENUM ('SCHEDULED', 'CONFIRMED', 'COMPLETED', 'CANCELLED');

CREATE TABLE "Clinic" (
	"id" text PRIMARY KEY,
	"name" text NOT NULL,
	"createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE "Doctor" (
	"id" text PRIMARY KEY,
	"clinicId" text NOT NULL REFERENCES "Clinic" ("id"),
	"name" text NOT NULL,
	"specialty" text NOT NULL,
	"createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE "Patient" (
	"id" text PRIMARY KEY,
	"clinicId" text NOT NULL REFERENCES "Clinic" ("id"),
	"firstName" text NOT NULL,
	"lastName" text NOT NULL,
	"gender" text NOT NULL,
	"birthDate" date NOT NULL,
	"city" text,
	"createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
	"updatedAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE "Appointment" (
	"id" text PRIMARY KEY,
	"clinicId" text NOT NULL REFERENCES "Clinic" ("id"),
	"patientId" text NOT NULL REFERENCES "Patient" ("id") ON DELETE CASCADE,
	"doctorId" text NOT NULL REFERENCES "Doctor" ("id"),
	"date" timestamp(3) NOT NULL,		-- UTC, as Prisma writes it
	"status" "AppointmentStatus" NOT NULL DEFAULT 'SCHEDULED',
	"reason" text,
	"fee" numeric(10, 2),
	"createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
	"updatedAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX "Appointment_patientId_idx" ON "Appointment" ("patientId");

CREATE TABLE "Immunization" (
	"id" text PRIMARY KEY,
	"clinicId" text NOT NULL REFERENCES "Clinic" ("id"),
	"patientId" text NOT NULL REFERENCES "Patient" ("id") ON DELETE CASCADE,
	"code" text NOT NULL,
	"date" timestamp(3) NOT NULL,
	"name" text NOT NULL
);
CREATE INDEX "Immunization_patientId_idx" ON "Immunization" ("patientId");
