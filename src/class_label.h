/*-------------------------------------------------------------------------
 *
 * class_label.h
 *		What status labels mean: clinicache.class.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_CLASS_LABEL_H
#define CLINICACHE_CLASS_LABEL_H

#include "postgres.h"

extern void cc_class_init(void);
extern bool cc_labels_equal(const char *a, int a_len, const char *b, int b_len);
extern uint64 cc_class_version(void);
extern bool cc_class_means(const char *label, int len, const char *meaning);

#endif							/* CLINICACHE_CLASS_LABEL_H */
